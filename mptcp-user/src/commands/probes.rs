//! The probes that numbers are read from.

use anyhow::Result;
use mptcp_common::counter::Role;

use super::lookup::{dedup, find_pins, is_namespace_gone};
use crate::{
    failure::{Failure, FailureKind, Notice, causes, is_forbidden, says_next, warn},
    probe::{self, FexitHooks, Interface, InterfacePins, Network, Pins, Probe},
    source::Live,
    text::shown,
};

/// Pinned probes.
pub(super) struct Pinned {
    /// By the names of their interfaces.
    pub(super) probes: Vec<(String, Probe)>,
    /// Names of interfaces that have none.
    pub(super) absent: Vec<String>,
    /// What the user should know, in sentences.
    pub(super) remarks: Vec<Notice>,
    /// The network namespace that they are or were in.
    namespace: u64,
}

impl Pinned {
    /// Opens the probes on these interfaces, or all that this network namespace has.
    pub(super) async fn open(network: &Network, pins: &Pins, names: &[String]) -> Result<Self> {
        let interfaces = network.interfaces().await?;
        let mut opened = Self {
            probes: Vec::new(),
            absent: Vec::new(),
            remarks: Vec::new(),
            namespace: probe::namespace()?,
        };
        if names.is_empty() {
            opened.open_all(network, pins, &interfaces).await?;
        }
        let mut broken = None;
        for name in dedup(names) {
            let Some((here, interface)) = find_pins(pins, &interfaces, name)? else {
                opened.absent.push(name.to_owned());
                continue;
            };
            let Some(probe) = opened.whole(&here, name, &mut broken)? else {
                continue;
            };
            opened.namespace = here.namespace;
            let remark = match interface {
                Some(interface) => lack(network, &interface, &here, &probe).await?,
                None => Some(gone(&here, name)),
            };
            opened.remarks.extend(remark);
            opened.probes.push((name.to_owned(), probe));
        }
        opened.fail_if_none(broken)?;
        Ok(opened)
    }

    async fn open_all(
        &mut self,
        network: &Network,
        pins: &Pins,
        interfaces: &[Interface],
    ) -> Result<()> {
        let (mut loopback, mut broken) = (None, None);
        for here in pins.interfaces()? {
            if here.namespace != self.namespace {
                continue;
            }
            let interface = interfaces
                .iter()
                .find(|interface| interface.index == here.index);
            let name = match interface {
                Some(interface) => interface.name.clone(),
                None => format!("interface {}", here.index),
            };
            let Some(probe) = self.whole(&here, &name, &mut broken)? else {
                continue;
            };
            if interface.is_some_and(|interface| interface.is_loopback) {
                loopback = Some(self.probes.len());
            }
            let (name, remark) = match interface {
                Some(interface) => (
                    interface.name.clone(),
                    lack(network, interface, &here, &probe).await?,
                ),
                None => (probe.name(), Some(gone(&here, &probe.name()))),
            };
            self.remarks.extend(remark);
            self.probes.push((name, probe));
        }
        self.fail_if_none(broken)?;
        if self.probes.is_empty() {
            return Err(none(pins)?);
        }
        if let Some(at) = loopback {
            self.set_loopback_aside(at);
        }
        Ok(())
    }

    /// Opens a probe. One that is not whole hides no other: it is left out, with a remark; `broken` is why.
    fn whole(
        &mut self,
        here: &InterfacePins,
        name: &str,
        broken: &mut Option<anyhow::Error>,
    ) -> Result<Option<Probe>> {
        match Probe::open(here) {
            Ok(probe) => Ok(Some(probe)),
            // Not the pins' fault.
            Err(error) if is_forbidden(&error) => Err(error),
            Err(error) => {
                let what = format!("the probe on {name} is not whole: {}", causes(&error));
                let notice = Notice::new(what);
                // What is wrong may say what to do.
                let notice = match says_next(&error) {
                    true => notice,
                    false => notice.next(format!(
                        "mptcp-user attach -i {name} again, or detach -i {name}"
                    )),
                };
                *broken = Some(error.context(notice.to_string()));
                self.remarks.push(notice);
                Ok(None)
            }
        }
    }

    /// Fails if none could be opened, and nothing else is left to show.
    fn fail_if_none(&mut self, broken: Option<anyhow::Error>) -> Result<()> {
        match broken {
            Some(error) if self.probes.is_empty() && self.absent.is_empty() => Err(error),
            _ => Ok(()),
        }
    }

    /// What passes the loopback interface is counted as on a middlebox, and cannot be added to what a host sends and
    /// receives.
    fn set_loopback_aside(&mut self, at: usize) {
        let role = self.probes[at].1.role();
        if self.probes.iter().all(|(_, probe)| probe.role() == role) {
            return;
        }
        let (name, _) = self.probes.remove(at);
        self.remarks.push(
            Notice::new(format!(
                "{name} is left out, since both ends of what passes it are this host"
            ))
            .next(format!("-i {name} shows it alone")),
        );
    }

    /// Returns the probes as a source; they have to be of one role.
    pub(super) fn live(self, pins: &Pins) -> Result<Live> {
        let role = self
            .probes
            .first()
            .map_or(Role::Host, |(_, probe)| probe.role());
        if self.probes.iter().any(|(_, probe)| probe.role() != role) {
            return Err(Failure::new(
                FailureKind::Failed,
                "these interfaces have different roles, and their counts cannot be added",
            )
            .next("name interfaces of one role with -i; `mptcp-user status` shows the roles")
            .into());
        }
        let hooks = FexitHooks::open(&pins.hooks(self.namespace))?;
        Ok(Live::new(self.probes, role, hooks))
    }
}

/// The next step of who does not see the pins.
pub(super) const OUTSIDE: &str = "mptcp-user --netns NAME ... from outside of the namespace: `ip netns exec` gives it \
    a /sys of its own";

/// There is no probe in this network namespace.
fn none(pins: &Pins) -> Result<anyhow::Error> {
    let next = if pins.are_out_of_sight() {
        OUTSIDE
    } else if !has_others(pins)? {
        "mptcp-user attach -i IFACE, or mptcp-user stat -i IFACE for a look"
    } else {
        "mptcp-user attach -i IFACE; other namespaces have probes: `mptcp-user status` lists them, --netns NAME \
         goes there"
    };
    let root = shown(pins.root());
    Ok(Failure::new(
        FailureKind::Failed,
        format!("no probe is attached in this network namespace (pin directory {root})"),
    )
    .next(next)
    .into())
}

/// Returns true if there are probes in namespaces that exist.
fn has_others(pins: &Pins) -> Result<bool> {
    let interfaces = pins.interfaces()?;
    Ok(interfaces.iter().any(|here| !is_namespace_gone(here)))
}

/// Tells what is not as it should be once, and not with every reading.
#[derive(Default)]
pub(super) struct Remarks(Vec<Notice>);

impl Remarks {
    pub(super) fn tell(&mut self, remarks: Vec<Notice>) {
        for remark in &remarks {
            if !self.0.contains(remark) {
                warn(remark);
            }
        }
        self.0 = remarks;
    }
}

fn gone(here: &InterfacePins, name: &str) -> Notice {
    if probe::is_on_interface(here) == Some(true) {
        return Notice::new(format!(
            "{name} is in another network namespace now, and is counted there"
        ))
        .next(format!("mptcp-user detach -i {name}"));
    }
    Notice::new(format!("{name} is gone; these are its last counts"))
        .next(format!("mptcp-user detach -i {name}"))
}

/// Returns what of a probe is not there: pins can outlive their interface or namespace, and the kernel uses its
/// numbers again; `attach` can be killed before all programs are attached.
async fn lack(
    network: &Network,
    interface: &Interface,
    here: &InterfacePins,
    probe: &Probe,
) -> Result<Option<Notice>> {
    let name = &interface.name;
    let [ingress, egress] =
        probe::attached_directions(network, interface, here, probe.role(), probe.counters_id())
            .await?;
    let wants_egress = probe.role() == Role::Host;
    let (counted, missing) = match (ingress, egress || !wants_egress) {
        (true, true) => return Ok(None),
        (true, false) => ("comes in", "goes out"),
        (false, true) if wants_egress => ("goes out", "comes in"),
        _ => {
            return Ok(Some(
                Notice::new(format!(
                    "no program counts on {name}; these are the last counts of a \
                     probe that was there"
                ))
                .next(format!(
                    "mptcp-user attach -i {name}, which starts anew, or detach -i \
                     {name}"
                )),
            ));
        }
    };
    Ok(Some(
        Notice::new(format!(
            "the probe on {name} is incomplete: what {missing} is not counted, what {counted} is"
        ))
        .next(format!(
            "mptcp-user attach -i {name} again, or detach -i {name}"
        )),
    ))
}
