//! Probes: the programs on an interface, their pinned maps, and how both get there. All of aya and all that is
//! `unsafe` is here.

mod adopt;
mod attach;
mod attachment;
mod btf;
mod events;
mod fexit;
mod fexit_reason;
pub mod filter;
mod host;
mod instance;
mod kernel_log;
pub(crate) mod layout;
mod limits;
mod link;
mod load;
pub(crate) mod mmap;
mod netns;
mod network;
mod pins;
pub(crate) mod settings;
pub(crate) mod shared_config;
mod sockets;
mod tables;
mod upkeep;

pub use self::load::OBJECT;
pub(crate) use self::{
    attachment::{Attachment, attached_directions, attachments, is_on_interface, linked},
    events::EventRing,
    fexit::{FexitHooks, FexitState},
    fexit_reason::FexitReason,
    host::read as read_host,
    instance::{Attached, Probe, adopt_pinned, detach, remove},
    kernel_log::follow_log,
    layout::Remembered,
    limits::{HostLimits, Outdated},
    load::Loads,
    netns::{find_namespace, in_namespace, netns_name},
    network::{Interface, Network, enter, namespace},
    pins::{InterfacePins, Lock, NamespacePins, Pins},
    settings::Settings,
    shared_config::{Adopted, SharedConfig},
    tables::Tables,
    upkeep::{sweep, wipe_keys},
};
