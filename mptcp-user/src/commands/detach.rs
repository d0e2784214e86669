//! `mptcp-user detach`

use anyhow::Result;

use super::{
    lookup::{dedup, find_pins},
    output::{conclude, print},
};
use crate::{
    args::DetachArgs,
    failure::{Failure, FailureKind},
    probe::{self, Interface, InterfacePins, Network, Pins, Probe},
};

pub(crate) async fn run(pins: &Pins, only_here: bool, options: &DetachArgs) -> Result<()> {
    let Some(_lock) = pins.lock_to_remove(None).await? else {
        pins.remove_if_empty();
        return match options.interfaces.first() {
            Some(name) => Err(nothing_at(name)),
            None => print("nothing is attached\n"),
        };
    };
    let network = Network::connect()?;
    let interfaces = network.interfaces().await?;
    let mut text = String::new();
    let mut failures = Vec::new();
    let mut asked = 0;
    let mut note = |name: &str, result: Result<()>| {
        asked += 1;
        match result {
            Ok(()) => text.push_str(&format!("{name}: detached\n")),
            Err(error) => failures.push(error),
        }
    };
    if options.all {
        let namespace = probe::namespace()?;
        for here in pins.interfaces()? {
            let name = name_of(&here);
            if here.namespace == namespace {
                note(&name, take_off(&network, pins, &here, &interfaces).await);
            } else if !only_here {
                note(&name, take_off_elsewhere(pins, &here));
            }
        }
    }
    for name in dedup(&options.interfaces) {
        let result = match find_pins(pins, &interfaces, name)? {
            Some((here, _)) => take_off(&network, pins, &here, &interfaces).await,
            None => Err(nothing_at(name)),
        };
        note(name, result);
    }
    if asked == 0 {
        text.push_str("nothing is attached\n");
    }
    pins.remove_if_empty();
    let printed = print(&text);
    conclude(failures, asked)?;
    printed
}

fn nothing_at(name: &str) -> anyhow::Error {
    Failure::new(FailureKind::Failed, format!("{name} has no probe"))
        .next("`mptcp-user status` lists the interfaces that have")
        .into()
}

async fn take_off(
    network: &Network,
    pins: &Pins,
    here: &InterfacePins,
    interfaces: &[Interface],
) -> Result<()> {
    let interface = interfaces
        .iter()
        .find(|interface| interface.index == here.index);
    probe::detach(network, pins, here, interface).await
}

/// Takes a probe off an interface in another network namespace. Where that is gone, only pins are left.
fn take_off_elsewhere(pins: &Pins, there: &InterfacePins) -> Result<()> {
    match probe::find_namespace(there.namespace) {
        Ok(Some(path)) => probe::in_namespace(&path, async |network: &Network| {
            let interfaces = network.interfaces().await?;
            take_off(network, pins, there, &interfaces).await
        }),
        Ok(None) => probe::remove(pins, there),
        // Programs with links go with their pins. Without links, nobody knows what would stay.
        Err(error) => match probe::is_on_interface(there) {
            Some(_) => probe::remove(pins, there),
            None => Err(error),
        },
    }
}

fn name_of(here: &InterfacePins) -> String {
    match Probe::open(here) {
        Ok(probe) => probe.name(),
        Err(_) => format!("interface {}", here.index),
    }
}
