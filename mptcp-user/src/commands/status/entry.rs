//! What is known of a probe.

use crate::statistics::ROWS;
use anyhow::Result;
use mptcp_common::counter::{Counters, FexitHook, Role};

use crate::{
    failure::{causes, is_forbidden},
    probe::{
        self, Attachment, FexitHooks, FexitReason, FexitState, HostLimits, InterfacePins, Network,
        Outdated, Pins, Probe,
    },
    text::shown,
};

/// What is known of one probe.
pub(super) struct Entry {
    pub(super) pins: InterfacePins,
    pub(super) name: String,
    /// The network namespace that it is in, if that is another one.
    pub(super) other_namespace: Option<OtherNamespace>,
    pub(super) state: ProbeState,
    /// Why the state is as it is, where that is known.
    pub(super) reason: Option<String>,
    pub(super) probe: Option<Probe>,
    pub(super) attachments: Vec<Attachment>,
    /// Both ends of what it sees are this host.
    pub(super) is_loopback: bool,
    /// The limits of its host now, if it judges by such.
    pub(super) host: Option<HostLimits>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeState {
    /// All its programs are attached.
    Counting,
    /// Some program is missing: the loader was killed, or somebody took it off.
    Incomplete,
    /// The interface or its network namespace does not exist any more.
    Gone,
    /// The interface is in another network namespace now, with its programs.
    Moved,
    /// The pinned maps cannot be read.
    Unreadable,
    /// Its network namespace cannot be found from here, and may be there all the same.
    OutOfSight,
}

/// Another network namespace: its name of `ip netns`, if it has one.
pub(super) type OtherNamespace = Option<String>;

impl Entry {
    /// Returns its name, where several namespaces have interfaces.
    pub(super) fn label(&self) -> String {
        match &self.other_namespace {
            None => shown(&self.name).to_string(),
            Some(Some(netns)) => format!("{} in {}", shown(&self.name), shown(netns)),
            Some(None) => format!("{} in {}", shown(&self.name), self.pins.namespace),
        }
    }

    /// Returns the name of the namespace, where that is another one.
    pub(super) fn netns(&self) -> Option<&str> {
        self.other_namespace.as_ref()?.as_deref()
    }

    /// Returns what to do about its state.
    pub(super) fn advice(&self) -> Option<String> {
        let what = match self.state {
            ProbeState::Counting => return None,
            ProbeState::Incomplete => "attach",
            ProbeState::Gone | ProbeState::Moved => "detach",
            ProbeState::Unreadable => {
                return Some(format!(
                    "{} again, or {}",
                    self.command("attach"),
                    self.command("detach")
                ));
            }
            ProbeState::OutOfSight => {
                return Some(
                    "run mptcp-user status where the namespace can be seen: as root, with the host's /proc and \
                     /run/netns"
                        .to_owned(),
                );
            }
        };
        Some(self.command(what))
    }

    /// Returns a command for it.
    pub(super) fn command(&self, what: &str) -> String {
        let netns = self
            .netns()
            .map_or(String::new(), |netns| format!("--netns {} ", shown(netns)));
        format!("mptcp-user {netns}{what} -i {}", shown(&self.name))
    }

    /// Returns what a state is without more.
    pub(super) fn without_programs(
        pins: InterfacePins,
        state: ProbeState,
        reason: Option<String>,
    ) -> Self {
        let probe = Probe::open(&pins).ok();
        let name = match &probe {
            Some(probe) => probe.name(),
            None => format!("interface {}", pins.index),
        };
        Self {
            pins,
            name,
            other_namespace: None,
            state,
            reason,
            probe,
            attachments: Vec::new(),
            is_loopback: false,
            host: None,
        }
    }

    /// Returns limits that it judges by and that are not the host's any more.
    pub(super) fn outdated(&self) -> Vec<Outdated> {
        match (&self.probe, &self.host) {
            (Some(probe), Some(host)) => probe.outdated_limits(host),
            _ => Vec::new(),
        }
    }
}

impl ProbeState {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Counting => "counting",
            Self::Incomplete => "incomplete",
            Self::Gone => "gone",
            Self::Moved => "moved",
            Self::Unreadable => "unreadable",
            Self::OutOfSight => "out of sight",
        }
    }
}

/// Returns a probe in another network namespace.
pub(super) fn entry_elsewhere(here: InterfacePins) -> Result<Entry> {
    let found = probe::find_namespace(here.namespace);
    let (other_namespace, entry) = match found {
        Ok(Some(path)) => {
            let look = async |network: &Network| entry(network, here).await;
            (probe::netns_name(&path), probe::in_namespace(&path, look)?)
        }
        Ok(None) if probe::is_on_interface(&here) == Some(true) => {
            let reason =
                "its programs are on an interface, of a network namespace that nothing names here";
            let reason = Some(reason.to_owned());
            (
                None,
                Entry::without_programs(here, ProbeState::OutOfSight, reason),
            )
        }
        Ok(None) => (None, Entry::without_programs(here, ProbeState::Gone, None)),
        // Links say so where names do not.
        Err(_) if probe::is_on_interface(&here) == Some(false) => {
            (None, Entry::without_programs(here, ProbeState::Gone, None))
        }
        Err(error) => {
            let reason = Some(causes(&error));
            (
                None,
                Entry::without_programs(here, ProbeState::OutOfSight, reason),
            )
        }
    };
    Ok(Entry {
        other_namespace: Some(other_namespace),
        ..entry
    })
}

/// Returns a probe in the network namespace that `network` is in.
pub(super) async fn entry(network: &Network, here: InterfacePins) -> Result<Entry> {
    let interfaces = network.interfaces().await?;
    let Some(interface) = interfaces
        .into_iter()
        .find(|interface| interface.index == here.index)
    else {
        if probe::is_on_interface(&here) != Some(true) {
            return Ok(Entry::without_programs(here, ProbeState::Gone, None));
        }
        let reason =
            "the interface is in another network namespace now, and its programs count there";
        let mut entry = Entry::without_programs(here, ProbeState::Moved, Some(reason.to_owned()));
        let is_native = entry.probe.as_ref().is_some_and(Probe::has_queues);
        entry.attachments = probe::linked(&entry.pins, is_native);
        return Ok(entry);
    };
    let probe = match Probe::open(&here) {
        Ok(probe) => probe,
        // Not the pins' fault.
        Err(error) if is_forbidden(&error) => return Err(error),
        Err(error) => {
            return Ok(Entry {
                name: interface.name,
                other_namespace: None,
                state: ProbeState::Unreadable,
                reason: Some(causes(&error)),
                probe: None,
                attachments: Vec::new(),
                is_loopback: interface.is_loopback,
                host: None,
                pins: here,
            });
        }
    };
    let attachments = probe::attachments(network, &interface, probe.counters_id()).await?;
    let wanted = match probe.role() {
        Role::Host => 2,
        Role::Middlebox => 1,
    };
    let has = |ingress| attachments.iter().any(|each| each.ingress == ingress);
    let (state, reason) = match (attachments.len() == wanted, has(true), has(false)) {
        (true, ..) => (ProbeState::Counting, None),
        (_, true, false) => (ProbeState::Incomplete, Some("what goes out is not counted")),
        (_, false, true) => (ProbeState::Incomplete, Some("what comes in is not counted")),
        (_, true, true) => (ProbeState::Incomplete, None),
        (_, false, false) => (ProbeState::Incomplete, Some("nothing is counted")),
    };
    let host = match probe.follows_host() {
        true => Some(HostLimits::read().await),
        false => None,
    };
    Ok(Entry {
        name: interface.name,
        other_namespace: None,
        state,
        reason: reason.map(str::to_owned),
        probe: Some(probe),
        attachments,
        is_loopback: interface.is_loopback,
        host,
        pins: here,
    })
}

/// Returns the hooks of a namespace on kernel functions; none for a middlebox.
pub(super) fn hook_states(pins: &Pins, entry: &Entry) -> Vec<(FexitHook, FexitState)> {
    let is_host = |probe: &Probe| probe.role() == Role::Host;
    if !entry.probe.as_ref().is_some_and(is_host) {
        return Vec::new();
    }
    let directory = pins.hooks(entry.pins.namespace);
    let hooks = FexitHooks::open(&directory);
    let states = FexitHook::ALL.map(|hook| {
        let state = match &hooks {
            Ok(Some(hooks)) => hooks
                .state(hook)
                .unwrap_or_else(|error| FexitState::Unknown(causes(&error))),
            Ok(None) => FexitState::Missing(FexitReason::NotTried),
            Err(error) => FexitState::Unknown(causes(error)),
        };
        (hook, state)
    });
    states.into()
}

/// Returns short names of the rows that a hook feeds.
pub(super) fn rows_of(hook: FexitHook) -> impl Iterator<Item = &'static str> {
    ROWS.iter()
        .filter(move |row| row.hooks().is_some_and(|hooks| hooks.contains(&hook)))
        .map(|row| row.short)
}

/// Returns what a probe counted since it was attached.
pub(super) fn counters(entry: &Entry) -> Option<Counters> {
    let mut sum = Counters::default();
    for cpu in entry.probe.as_ref()?.read().ok()? {
        sum.add(&cpu);
    }
    Some(sum)
}
