//! Sessions made of crafted packets: what two hosts say to each other.

use std::time::Duration;

use anyhow::Result;
use hmac::{Hmac, KeyInit as _, Mac as _};
use mptcp_common::{
    counter::{Counters, Gauges},
    wire::MAX_OPTIONS,
};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::{
    differential::{A, B, Differential, value},
    frame::{ACK, Frame, RST, SYN, SYN_ACK, dss_checksum, option, payload},
    kernel::Merged,
};

/// A TCP connection of a session.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Ports of the sides.
    pub ports: [u16; 2],
    /// Next sequence number of each side.
    pub next: [u32; 2],
    /// Initial sequence number of each side.
    pub isn: [u32; 2],
    /// Nonces of the sides in an MP_JOIN.
    pub nonces: [u32; 2],
    /// Address identifiers of the sides.
    pub ids: [u8; 2],
}

/// What a test says of one session, and what was counted of it.
pub struct Conversation<'a> {
    engines: &'a mut Differential,
    hosts: [u8; 2],
    base: u16,
    /// Keys of the sides.
    pub keys: [u64; 2],
    /// Protocol version.
    pub version: u8,
    /// Flags of MP_CAPABLE: 1 is HMAC, 0x80 asks for checksums.
    pub capable_flags: u8,
    /// Is there a timestamp in every option area that has room for one?
    pub timestamps: bool,
    /// Payload bytes of a packet at most: what is longer comes as a buffer of several. 0: nothing does.
    pub packet_size: usize,
    /// Are DATA_ACKs, and are data sequence numbers of mappings, sent as their lower four bytes?
    pub short_numbers: [bool; 2],
    /// Next data sequence number of each side.
    pub dsn: [u64; 2],
    /// The connections, the first one at 0.
    pub flows: Vec<Flow>,
    /// Counted so far.
    pub counted: Counters,
}

impl<'a> Conversation<'a> {
    /// A session of which nothing was sent.
    pub fn new(engines: &'a mut Differential) -> Self {
        engines.made += 1;
        let n = engines.made;
        let mut talk = Self {
            hosts: [1 + (n >> 15) as u8, 1 + (n >> 8 & 0x7f) as u8 + 100],
            base: 1000 + (n & 0xff) as u16 * 16,
            keys: [
                0x1111_0000_0000_0000 + u64::from(n),
                0x2222_0000_0000_0000 + u64::from(n),
            ],
            version: 1,
            capable_flags: 1,
            timestamps: false,
            packet_size: 0,
            short_numbers: [false; 2],
            dsn: [0; 2],
            flows: Vec::new(),
            counted: Counters::default(),
            engines,
        };
        talk.flow();
        talk.dsn = [A, B].map(|side| talk.idsn(side).wrapping_add(1));
        talk
    }

    /// A session of version 0.
    pub fn version_0(engines: &'a mut Differential) -> Self {
        let mut talk = Self::new(engines);
        talk.version = 0;
        talk.dsn = [A, B].map(|side| talk.idsn(side).wrapping_add(1));
        talk
    }

    /// A session whose handshake is complete.
    pub fn established(engines: &'a mut Differential) -> Result<Self> {
        let mut talk = Self::new(engines);
        talk.handshake()?;
        Ok(talk)
    }

    /// One that has also exchanged data both ways, so that both ends have confirmed it.
    pub fn confirmed(engines: &'a mut Differential) -> Result<Self> {
        let mut talk = Self::established(engines)?;
        talk.data(0, A, 100)?;
        talk.ack(0, B)?;
        Ok(talk)
    }

    /// One with DSS checksums.
    pub fn checksummed(engines: &'a mut Differential) -> Result<Self> {
        let mut talk = Self::new(engines);
        talk.capable_flags |= 0x80;
        talk.handshake()?;
        talk.data(0, A, 100)?;
        talk.ack(0, B)?;
        Ok(talk)
    }

    /// One with two subflows.
    pub fn joined(engines: &'a mut Differential) -> Result<Self> {
        let mut talk = Self::confirmed(engines)?;
        talk.join(A, 5)?;
        Ok(talk)
    }

    /// One that is not known to the probe from its start is a new one with other ports.
    pub fn flow(&mut self) -> usize {
        let i = self.flows.len();
        let n = u32::from(self.base) + i as u32;
        let isn = [1000 * n, 3_000_000_000 + 1000 * n];
        self.flows.push(Flow {
            ports: [10_000 + self.base + i as u16, 5000],
            next: isn,
            isn,
            nonces: [0x0a00_0000 + n, 0x0b00_0000 + n],
            ids: [0, 0],
        });
        i
    }

    /// Forgets what was counted so far.
    pub fn clear(&mut self) {
        self.counted = Counters::default();
    }

    /// The number of a row or further number since then.
    pub fn value(&self, name: &str) -> Result<Option<u64>> {
        let gauges = self.engines.gauges();
        value(name, &self.counted, &gauges, self.engines.role)
    }

    /// As [`Differential::is_cutting`].
    pub fn is_cutting(&self) -> bool {
        self.engines.is_cutting()
    }

    /// What exists now.
    pub fn gauges(&self) -> Gauges {
        self.engines.gauges()
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) -> Result<()> {
        self.engines.wait(time)
    }

    /// As [`Differential::set_back`].
    pub fn set_back(&mut self, time: Duration) -> Result<()> {
        self.engines.set_back(time)
    }

    /// As [`Differential::use_queue`].
    pub fn use_queue(&mut self, queue: u32) {
        self.engines.use_queue(queue);
    }

    fn digest(&self, side: usize) -> Vec<u8> {
        let key = self.keys[side].to_be_bytes();
        if self.version == 0 {
            Sha1::digest(key).to_vec()
        } else {
            Sha256::digest(key).to_vec()
        }
    }

    /// Token of a side's key.
    pub fn token(&self, side: usize) -> u32 {
        u32::from_be_bytes(self.digest(side)[..4].try_into().expect("4 bytes"))
    }

    /// Initial data sequence number of a side.
    pub fn idsn(&self, side: usize) -> u64 {
        let digest = self.digest(side);
        let last = &digest[digest.len() - 8..];
        u64::from_be_bytes(last.try_into().expect("8 bytes"))
    }

    /// HMAC under the keys, the sender's first.
    pub fn hmac(&self, sender: usize, message: &[u8]) -> Vec<u8> {
        let keys = [self.keys[sender], self.keys[sender ^ 1]].map(u64::to_be_bytes);
        if self.version == 0 {
            let mut mac = Hmac::<Sha1>::new_from_slice(&keys.concat()).expect("any key");
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        } else {
            let mut mac = Hmac::<Sha256>::new_from_slice(&keys.concat()).expect("any key");
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        }
    }

    /// A frame of a side with the next sequence number, acknowledging everything.
    pub fn frame(
        &self,
        flow: usize,
        from: usize,
        flags: u8,
        options: &[u8],
        payload: usize,
    ) -> Frame {
        let Flow { ports, next, .. } = self.flows[flow];
        let to = from ^ 1;
        let options = &self.lay_out(options);
        Frame {
            hosts: [self.hosts[from], self.hosts[to]],
            ports: [ports[from], ports[to]],
            sequence: next[from],
            acknowledgment: if flags & ACK != 0 { next[to] } else { 0 },
            ..Frame::new(flags, options, payload)
        }
    }

    /// An option area as Linux sends it: a timestamp first, if there are any, and NOPs up to the next
    /// word.
    fn lay_out(&self, options: &[u8]) -> Vec<u8> {
        const TIMESTAMP: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
        let mut area = Vec::new();
        if self.timestamps && options.len() + TIMESTAMP.len() <= MAX_OPTIONS {
            area.extend(TIMESTAMP);
        }
        area.extend(options);
        area.resize(area.len().next_multiple_of(4), 1);
        area
    }

    /// Sends a frame as it is, not moving any number.
    pub fn raw(&mut self, from: usize, frame: &Frame) -> Result<Counters> {
        let (size, payload) = (self.packet_size, frame.payload);
        let mut merged = Merged::default();
        if size != 0 && payload > size {
            merged.size = size as u32;
            // Not every driver counts them.
            if payload % 2 == 0 {
                merged.packets = payload.div_ceil(size) as u32;
            }
        }
        let counted = self.engines.run(&frame.bytes(), from, merged, true)?;
        self.engines.forge(frame, from)?;
        self.counted.add(&counted);
        Ok(counted)
    }

    /// Sends, and moves the sequence number.
    pub fn send(
        &mut self,
        flow: usize,
        from: usize,
        flags: u8,
        options: &[u8],
        payload: usize,
    ) -> Result<Counters> {
        let frame = self.frame(flow, from, flags, options, payload);
        let counted = self.raw(from, &frame)?;
        let length = payload as u32 + u32::from(flags & 2 != 0) + u32::from(flags & 1 != 0);
        let next = &mut self.flows[flow].next[from];
        *next = next.wrapping_add(length);
        Ok(counted)
    }

    /// The option of the SYN.
    pub fn capable_syn(&self) -> Vec<u8> {
        let key = self.keys[A].to_be_bytes();
        match self.version {
            0 => option(0, 0, &[&[self.capable_flags][..], &key].concat()),
            version => option(0, version, &[self.capable_flags]),
        }
    }

    /// The option of the SYN/ACK.
    pub fn capable_syn_ack(&self) -> Vec<u8> {
        let key = self.keys[B].to_be_bytes();
        option(0, self.version, &[&[self.capable_flags][..], &key].concat())
    }

    /// The option of the third segment.
    pub fn capable_ack(&self) -> Vec<u8> {
        let keys = self.keys.map(u64::to_be_bytes).concat();
        option(
            0,
            self.version,
            &[&[self.capable_flags][..], &keys].concat(),
        )
    }

    /// SYN, SYN/ACK and ACK.
    pub fn handshake(&mut self) -> Result<()> {
        let (syn, syn_ack, ack) = (
            self.capable_syn(),
            self.capable_syn_ack(),
            self.capable_ack(),
        );
        self.send(0, A, SYN, &syn, 0)?;
        self.send(0, B, SYN_ACK, &syn_ack, 0)?;
        self.send(0, A, ACK, &ack, 0)?;
        Ok(())
    }

    /// A DSS: DATA_ACK of everything, and a mapping of data sequence number, subflow sequence
    /// number and length.
    pub fn dss(&self, from: usize, map: Option<(u64, u32, u16)>, fin: bool) -> Vec<u8> {
        let [ack, data] = self
            .short_numbers
            .map(|is_short| if is_short { 4 } else { 0 });
        let mut flags = if ack == 0 { 0x03 } else { 0x01 };
        let mut rest = self.dsn[from ^ 1].to_be_bytes()[ack..].to_vec();
        if let Some((dsn, ssn, length)) = map {
            flags |= if data == 0 { 0x0c } else { 0x04 } | if fin { 0x10 } else { 0 };
            rest.extend(&dsn.to_be_bytes()[data..]);
            rest.extend(ssn.to_be_bytes());
            rest.extend(length.to_be_bytes());
        }
        option(2, 0, &[&[flags][..], &rest].concat())
    }

    /// Relative number of the next byte that a side sends.
    pub fn ssn(&self, flow: usize, from: usize) -> u32 {
        let Flow { next, isn, .. } = self.flows[flow];
        next[from].wrapping_sub(isn[from])
    }

    /// The mapping of the next bytes.
    pub fn map(&self, flow: usize, from: usize, length: u16) -> (u64, u32, u16) {
        (self.dsn[from], self.ssn(flow, from), length)
    }

    /// A DSS with the checksum of the next bytes, of which `length` are mapped; that of a DATA_FIN
    /// is one of them.
    pub fn dss_with_checksum(&self, flow: usize, from: usize, length: u16, fin: bool) -> Vec<u8> {
        let bytes = length - u16::from(fin);
        let (dsn, ssn, _) = self.map(flow, from, length);
        let ssn = if bytes == 0 { 0 } else { ssn };
        let mut options = self.dss(from, Some((dsn, ssn, length)), fin);
        let payload = payload(self.flows[flow].next[from], bytes.into());
        options.extend(dss_checksum(&payload, dsn, ssn, length));
        options[1] += 2;
        options
    }

    /// Are checksums in use?
    fn has_checksums(&self) -> bool {
        self.capable_flags & 0x80 != 0
    }

    /// Data with its mapping.
    pub fn data(&mut self, flow: usize, from: usize, length: u16) -> Result<Counters> {
        let options = if self.has_checksums() {
            self.dss_with_checksum(flow, from, length, false)
        } else {
            self.dss(from, Some(self.map(flow, from, length)), false)
        };
        let counted = self.send(flow, from, ACK, &options, length.into())?;
        self.dsn[from] = self.dsn[from].wrapping_add(length.into());
        Ok(counted)
    }

    /// An acknowledgment with a DATA_ACK.
    pub fn ack(&mut self, flow: usize, from: usize) -> Result<Counters> {
        let options = self.dss(from, None, false);
        self.send(flow, from, ACK, &options, 0)
    }

    /// A DATA_FIN without data.
    pub fn data_fin(&mut self, flow: usize, from: usize) -> Result<Counters> {
        let options = if self.has_checksums() {
            self.dss_with_checksum(flow, from, 1, true)
        } else {
            self.dss(from, Some((self.dsn[from], 0, 1)), true)
        };
        let counted = self.send(flow, from, ACK, &options, 0)?;
        self.dsn[from] = self.dsn[from].wrapping_add(1);
        Ok(counted)
    }

    /// Both DATA_FINs, their acknowledgments, and both FINs of the flow with theirs.
    pub fn close(&mut self, flow: usize) -> Result<()> {
        self.data_fin(flow, A)?;
        self.data_fin(flow, B)?;
        self.ack(flow, A)?;
        self.send(flow, A, ACK | 1, &[], 0)?;
        self.send(flow, B, ACK | 1, &[], 0)?;
        self.send(flow, A, ACK, &[], 0)?;
        Ok(())
    }

    /// The option of a join's SYN.
    pub fn join_syn_option(&self, flow: usize, from: usize) -> Vec<u8> {
        let Flow { nonces, ids, .. } = self.flows[flow];
        let rest = [
            &[ids[from]][..],
            &self.token(from ^ 1).to_be_bytes(),
            &nonces[from].to_be_bytes(),
        ];
        option(1, 0, &rest.concat())
    }

    /// Nonces of a flow, the sender's first.
    fn nonces(&self, flow: usize, from: usize) -> Vec<u8> {
        let nonces = self.flows[flow].nonces;
        [nonces[from], nonces[from ^ 1]]
            .map(u32::to_be_bytes)
            .concat()
    }

    /// The option of a join's SYN/ACK.
    pub fn join_syn_ack_option(&self, flow: usize, from: usize) -> Vec<u8> {
        let Flow { nonces, ids, .. } = self.flows[flow];
        let hmac = self.hmac(from, &self.nonces(flow, from));
        let rest = [&[ids[from]][..], &hmac[..8], &nonces[from].to_be_bytes()];
        option(1, 0, &rest.concat())
    }

    /// The option of a join's third segment.
    pub fn join_ack_option(&self, flow: usize, from: usize) -> Vec<u8> {
        let hmac = self.hmac(from, &self.nonces(flow, from));
        option(1, 0, &[&[0][..], &hmac[..20]].concat())
    }

    /// SYN, SYN/ACK and ACK of a join that a side opens with an address identifier.
    pub fn join_until_ack(&mut self, opener: usize, id: u8) -> Result<usize> {
        let flow = self.flow();
        self.flows[flow].ids[opener] = id;
        let (syn, syn_ack, ack) = (
            self.join_syn_option(flow, opener),
            self.join_syn_ack_option(flow, opener ^ 1),
            self.join_ack_option(flow, opener),
        );
        self.send(flow, opener, SYN, &syn, 0)?;
        self.send(flow, opener ^ 1, SYN_ACK, &syn_ack, 0)?;
        self.send(flow, opener, ACK, &ack, 0)?;
        Ok(flow)
    }

    /// A join that is accepted.
    pub fn join(&mut self, opener: usize, id: u8) -> Result<usize> {
        let flow = self.join_until_ack(opener, id)?;
        self.ack(flow, opener ^ 1)?;
        Ok(flow)
    }

    /// A reset with an MP_TCPRST of this reason.
    pub fn reset(&mut self, flow: usize, from: usize, reason: u8) -> Result<Counters> {
        self.send(flow, from, RST | ACK, &option(8, 0, &[reason]), 0)
    }

    /// An MP_FASTCLOSE on an ACK, with a key.
    pub fn fastclose(&mut self, flow: usize, from: usize, key: u64) -> Result<Counters> {
        self.send(flow, from, ACK, &fastclose_option(key), 0)
    }

    /// An announcement of 10.0.9.`id`, with the HMAC that belongs to it.
    pub fn add_addr_option(&self, from: usize, id: u8) -> Vec<u8> {
        let body = [id, 10, 0, 9, id];
        let hmac = self.hmac(from, &[&body[..], &[0, 0]].concat());
        option(3, 0, &[&body[..], &hmac[hmac.len() - 8..]].concat())
    }

    /// Announces an address.
    pub fn add_addr(&mut self, flow: usize, from: usize, id: u8) -> Result<Counters> {
        let options = self.add_addr_option(from, id);
        self.send(flow, from, ACK, &options, 0)
    }

    /// Removes addresses.
    pub fn remove_addr(&mut self, flow: usize, from: usize, ids: &[u8]) -> Result<Counters> {
        let options = [self.dss(from, None, false), option(4, 0, ids)].concat();
        self.send(flow, from, ACK, &options, 0)
    }

    /// Changes the priority of a flow.
    pub fn prio(&mut self, flow: usize, from: usize, backup: bool) -> Result<Counters> {
        let options = [self.dss(from, None, false), option(5, backup.into(), &[])].concat();
        self.send(flow, from, ACK, &options, 0)
    }
}

/// An MP_FASTCLOSE with a key.
pub fn fastclose_option(key: u64) -> Vec<u8> {
    option(7, 0, &[&[0][..], &key.to_be_bytes()].concat())
}
