//! Handshakes, a segment at a time.

use super::*;

/// Handshakes of sessions and of joins, each new.
pub(crate) struct Opening {
    kernel: Kernel,
    pub(crate) rows: [Row; 6],
    /// Sessions so far.
    sessions: u32,
}

impl Opening {
    pub(crate) fn new() -> Result<Self> {
        let row = |name, budget| Row::new(Hook::Xdp, name, 0, budget);
        Ok(Self {
            kernel: load(PASSES * BATCHES * BATCH, true, false)?,
            rows: [
                row("MP_CAPABLE SYN, a new entry", Some(250.0)),
                row("MP_CAPABLE SYN/ACK", None),
                row("MP_CAPABLE ACK, tokens derived", Some(2500.0)),
                row("MP_JOIN SYN", None),
                row("MP_JOIN SYN/ACK, HMAC checked", None),
                row("MP_JOIN ACK, HMAC checked", Some(6000.0)),
            ],
            sessions: 0,
        })
    }

    pub(crate) fn pass(&mut self, feeder: &mut Feeder) -> Result<()> {
        feeder.measure(&self.kernel)?;
        for _ in 0..BATCHES {
            let sessions = Sessions {
                first: self.sessions,
                records: HANDSHAKES,
                ..sessions(BATCH)
            };
            let joins = Sessions {
                records: HANDSHAKES + BATCH,
                ..sessions
            };
            feeder.fill(sessions.records, sessions.numbers().map(traffic::keys))?;
            for packet in 0..3 {
                let records = sessions.numbers().map(|n| traffic::joins(n)[packet]);
                feeder.fill(joins.records + packet as u32 * BATCH, records)?;
            }
            let steps = sessions.handshake().into_iter().chain(joins.join());
            for (row, packets) in self.rows.iter_mut().zip(steps) {
                row.add(feeder.sample(row.hook, &packets, 0, BATCH)?);
            }
            self.sessions += BATCH;
        }
        Ok(())
    }

    /// Fails if the packets were not counted as what they are meant to be.
    pub(crate) fn check(&self) -> Result<()> {
        let counted = self.kernel.read()?.rx;
        let counted = [
            counted.capable_syn_v1,
            counted.capable_synack,
            counted.session_created,
            counted.join_syn - counted.join_token_unknown,
            counted.join_synack - counted.join_synack_hmac,
            counted.join_final_ack - counted.join_hmac - counted.join_hmac_unverified,
        ];
        for (row, counted) in self.rows.iter().zip(counted) {
            row.check(counted, self.sessions.into())?;
        }
        Ok(())
    }
}
