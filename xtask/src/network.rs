//! Two hosts on this machine whose client joins with its second address, for the demo and the virtual machines.

use std::{thread, time::Duration};

use anyhow::Result;
use mptcp_testkit::net::{Family, Namespace, Pair, close, transfer};

/// Parts of a transfer, so that a second subflow can join and carry some.
const PARTS: usize = 10;

/// A client and a server namespace, with the interfaces c0-s0 and c1-s1 between them. Both go when this is dropped.
pub(crate) struct Network(Pair);

impl Network {
    /// Makes both.
    pub(crate) fn new() -> Result<Self> {
        let pair = Pair::new(Family::V4)?;
        let second = pair.client_address(1);
        pair.client
            .ip(&format!("mptcp endpoint add {second} dev c1 subflow"))?;
        Ok(Self(pair))
    }

    pub(crate) fn client(&self) -> &Namespace {
        &self.0.client
    }

    pub(crate) fn server(&self) -> &Namespace {
        &self.0.server
    }

    /// One session, in which the client sends so many bytes.
    pub(crate) fn transfer(&self, bytes: usize) -> Result<()> {
        let (client, server) = self.0.connect()?;
        for _ in 0..PARTS {
            transfer(&client, &server, bytes / PARTS)?;
            thread::sleep(Duration::from_millis(50));
        }
        close(client, server)
    }
}
