//! `mptcp-user detach`

use anyhow::Result;

use super::{find_pins, print};
use crate::{
    cli::Detach,
    failure::{Failure, Kind},
    probe::{self, Interface, InterfacePins, Network, Pins, Probe},
};

pub(crate) async fn run(pins: &Pins, options: &Detach) -> Result<()> {
    if !pins.root().exists() {
        if options.all {
            return print("nothing is attached\n");
        }
        return Err(nothing_at(&options.interfaces[0]));
    }
    let network = Network::connect()?;
    let interfaces = network.interfaces().await?;
    let _lock = pins.lock()?;
    if options.all {
        return all(pins, &network, &interfaces).await;
    }
    let mut failures = Vec::new();
    for name in &options.interfaces {
        let result = match find_pins(pins, &interfaces, name)? {
            Some((here, interface)) => {
                probe::detach(&network, pins, &here, interface.as_ref()).await
            }
            None => Err(nothing_at(name)),
        };
        match result {
            Ok(()) => print(&format!("{name}: detached\n"))?,
            Err(error) => failures.push(error),
        }
    }
    super::attach::conclude(failures, options.interfaces.len())
}

fn nothing_at(name: &str) -> anyhow::Error {
    Failure::error(
        Kind::Failed,
        format!("{name} has no probe\n  next: `mptcp-user status` lists the interfaces that have"),
    )
}

async fn all(pins: &Pins, network: &Network, interfaces: &[Interface]) -> Result<()> {
    let namespace = probe::namespace()?;
    let found = pins.interfaces()?;
    if found.is_empty() {
        // An empty pin directory is ours too.
        let _ = std::fs::remove_dir(pins.root());
        return print("nothing is attached\n");
    }
    for here in found {
        let interface = interfaces
            .iter()
            .find(|interface| here.namespace == namespace && interface.index == here.index);
        let name = name_of(&here);
        probe::detach(network, pins, &here, interface).await?;
        print(&format!("{name}: detached\n"))?;
    }
    Ok(())
}

fn name_of(here: &InterfacePins) -> String {
    match Probe::open(here) {
        Ok(probe) => probe.name(),
        Err(_) => format!("interface {}", here.index),
    }
}
