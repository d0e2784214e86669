//! Network namespaces and interfaces, by netlink: /sys shows those of the namespace that mounted
//! it, not of the one this thread is in.

use std::{fs::File, io, net::IpAddr, os::unix::fs::MetadataExt as _, path::PathBuf};

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use netlink_packet_route::{
    link::{InfoKind, LinkAttribute, LinkInfo, LinkLayerType, LinkXdp, XdpAttached},
    route::RouteAttribute,
    tc::{TcAttribute, TcFilterBpfOption, TcMessage, TcOption},
};
use nix::{
    libc,
    sched::{CloneFlags, setns},
};
use rtnetlink::{Handle, RouteMessageBuilder};

use crate::failure::{Failure, FailureKind};
use crate::text::shown;

/// Moves this thread into a network namespace, by a name of `ip netns` or a path.
pub(crate) fn enter(name: &str) -> Result<()> {
    let path = if name.contains('/') {
        PathBuf::from(name)
    } else {
        PathBuf::from("/run/netns").join(name)
    };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::new(
                FailureKind::Failed,
                format!(
                    "there is no network namespace {} ({})",
                    shown(name),
                    shown(&path)
                ),
            )
            .next("`ip netns` lists them")
            .into());
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot open {}", shown(&path)));
        }
    };
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|error| match error {
        nix::Error::EINVAL => Failure::new(
            FailureKind::Failed,
            format!("{} is no network namespace", shown(name)),
        )
        .next("`ip netns` lists them")
        .into(),
        _ => anyhow::Error::from(error).context(format!(
            "cannot enter the network namespace {}",
            shown(name)
        )),
    })
}

/// Returns the inode number that identifies this thread's network namespace.
pub(crate) fn namespace() -> Result<u64> {
    let path = "/proc/thread-self/ns/net";
    Ok(std::fs::metadata(path)
        .with_context(|| format!("cannot read {path}; mount /proc"))?
        .ino())
}

/// A network interface.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// What its frames start with.
    pub(crate) link_layer: LinkLayer,
    /// What it sends comes in at itself.
    pub(crate) is_loopback: bool,
    /// Bond, bridge or VRF that it belongs to.
    master: Option<u32>,
    /// Interface that it lies on (VLAN, macvlan).
    lower: Option<u32>,
    /// Kind of a virtual device.
    kind: Option<String>,
    /// XDP programs that run on it, and whether in the driver.
    pub(crate) xdp_programs: Vec<XdpProgram>,
}

/// What frames start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkLayer {
    /// An Ethernet header.
    Ethernet,
    /// An IP header: tun, PPP and tunnels.
    None,
    /// Something that the programs do not know.
    Other(LinkLayerType),
}

impl From<LinkLayerType> for LinkLayer {
    fn from(kind: LinkLayerType) -> Self {
        match kind {
            LinkLayerType::Ether | LinkLayerType::Loopback => Self::Ethernet,
            LinkLayerType::None
            | LinkLayerType::Ppp
            | LinkLayerType::Rawip
            | LinkLayerType::Tunnel
            | LinkLayerType::Tunnel6
            | LinkLayerType::Sit
            | LinkLayerType::Ipgre
            | LinkLayerType::Ip6gre => Self::None,
            other => Self::Other(other),
        }
    }
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct XdpProgram {
    pub(crate) id: u32,
    pub(crate) is_native: bool,
}

/// A BPF filter of a clsact qdisc.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    pub(crate) program: u32,
    pub(crate) handle: u32,
    pub(crate) priority: u16,
}

impl Interface {
    /// Returns true if a frame that crosses one of the two crosses the other one too.
    pub(crate) fn shares_frames_with(&self, other: &Self) -> bool {
        self.lies_above(other) || other.lies_above(self)
    }

    /// Returns true if its frames cross the other one.
    pub(crate) fn lies_above(&self, lower: &Self) -> bool {
        lower.master == Some(self.index) || (self.lower == Some(lower.index) && !self.is_veth())
    }

    /// Returns true if its programs run on it alone. A bond's driver, and that of a network device over a virtual
    /// function, gives them to the interfaces below, whose indices they see then.
    pub(crate) fn has_programs_of_its_own(&self, all: &[Self]) -> bool {
        !matches!(self.kind.as_deref(), Some("bond" | "team"))
            && all.iter().all(|other| other.master != Some(self.index))
    }

    /// Returns true if it is one end of a pair.
    pub(crate) fn is_veth(&self) -> bool {
        self.kind.as_deref() == Some("veth")
    }
}

/// A netlink connection to the network namespace it was made in.
#[derive(Debug)]
pub(crate) struct Network {
    handle: Handle,
}

impl Network {
    /// Connects; a tokio task does the reading.
    pub(crate) fn connect() -> Result<Self> {
        let (connection, handle, _) =
            rtnetlink::new_connection().context("cannot open a netlink socket")?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Returns all interfaces.
    pub(crate) async fn interfaces(&self) -> Result<Vec<Interface>> {
        let mut links = self.handle.link().get().execute();
        let mut interfaces = Vec::new();
        while let Some(link) = links.try_next().await.context("cannot list interfaces")? {
            let mut interface = Interface {
                index: link.header.index,
                name: String::new(),
                link_layer: link.header.link_layer_type.into(),
                is_loopback: link.header.link_layer_type == LinkLayerType::Loopback,
                master: None,
                lower: None,
                kind: None,
                xdp_programs: Vec::new(),
            };
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(name) => interface.name = name,
                    LinkAttribute::Controller(index) => interface.master = Some(index),
                    LinkAttribute::Link(index) => interface.lower = Some(index),
                    LinkAttribute::LinkInfo(infos) => {
                        interface.kind = infos.iter().find_map(|info| match info {
                            LinkInfo::Kind(InfoKind::Veth) => Some("veth".to_owned()),
                            LinkInfo::Kind(kind) => Some(format!("{kind:?}").to_lowercase()),
                            _ => None,
                        });
                    }
                    LinkAttribute::Xdp(xdp) => {
                        interface.xdp_programs = xdp_programs(&xdp);
                    }
                    _ => {}
                }
            }
            interfaces.push(interface);
        }
        Ok(interfaces)
    }

    /// Returns the interface of this name.
    pub(crate) async fn interface(&self, name: &str) -> Result<Interface> {
        self.interfaces()
            .await?
            .into_iter()
            .find(|interface| interface.name == name)
            .ok_or_else(|| {
                Failure::new(
                    FailureKind::Failed,
                    format!(
                        "there is no interface {} in this network namespace",
                        shown(name)
                    ),
                )
                .next("`ip link` lists the interfaces; --netns NAME looks into another namespace")
                .into()
            })
    }

    /// Returns the interface by which packets from one address to another leave; `None` if there is no way.
    ///
    /// # Errors
    /// If the kernel does not answer.
    pub(crate) async fn way_out(&self, from: IpAddr, to: IpAddr) -> Result<Option<u32>> {
        let bits = if to.is_ipv4() { 32 } else { 128 };
        let question = RouteMessageBuilder::<IpAddr>::new()
            .source_prefix(from, bits)
            .and_then(|question| question.destination_prefix(to, bits))
            .context("cannot ask for a route")?
            .build();
        let mut routes = Box::pin(self.handle.route().get(question).execute());
        let route = match routes.try_next().await {
            Ok(route) => route,
            // An answer: no route, or one that refuses.
            Err(rtnetlink::Error::NetlinkError(_)) => None,
            Err(error) => return Err(error).context("cannot ask for a route"),
        };
        let attributes = route.into_iter().flat_map(|route| route.attributes);
        let mut indices = attributes.filter_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(index),
            _ => None,
        });
        Ok(indices.next())
    }

    /// Returns the BPF filters of an interface's clsact qdisc, on ingress or egress.
    ///
    /// # Errors
    /// If the kernel does not list them, which must not look like "none".
    pub(crate) async fn filters(&self, index: u32, ingress: bool) -> Result<Vec<Filter>> {
        let mut handle = self.handle.traffic_filter(index as i32);
        let request = if ingress {
            handle.get().ingress()
        } else {
            handle.get().egress()
        };
        let mut messages = Box::pin(request.execute());
        let mut filters = Vec::new();
        loop {
            match messages.try_next().await {
                Ok(Some(message)) => filters.extend(bpf_filter(&message)),
                Ok(None) => return Ok(filters),
                Err(error) if is_without_filters(&error) => return Ok(filters),
                Err(error) => return Err(error).context("cannot list TC filters"),
            }
        }
    }
}

/// Returns true if the kernel says that there is no clsact qdisc, no interface, or that it knows no filters.
fn is_without_filters(error: &rtnetlink::Error) -> bool {
    let rtnetlink::Error::NetlinkError(message) = error else {
        return false;
    };
    matches!(
        message.to_io().raw_os_error(),
        Some(libc::EINVAL | libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP)
    )
}

/// Returns the XDP programs that are named: by their modes if there is one for each mode, else without.
fn xdp_programs(attributes: &[LinkXdp]) -> Vec<XdpProgram> {
    let is_native = !attributes
        .iter()
        .any(|attribute| matches!(attribute, LinkXdp::Attached(XdpAttached::SocketBuffer)));
    let mut programs = Vec::<XdpProgram>::new();
    for attribute in attributes {
        let program = match *attribute {
            LinkXdp::ProgId(id) => XdpProgram { id, is_native },
            LinkXdp::DrvProgId(id) | LinkXdp::HwProgId(id) => XdpProgram {
                id,
                is_native: true,
            },
            LinkXdp::SkbProgId(id) => XdpProgram {
                id,
                is_native: false,
            },
            _ => continue,
        };
        if programs.iter().all(|known| known.id != program.id) {
            programs.push(program);
        }
    }
    programs
}

fn bpf_filter(message: &TcMessage) -> Option<Filter> {
    let program = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            TcAttribute::Options(options) => options.iter().find_map(|option| match option {
                TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
                _ => None,
            }),
            _ => None,
        })?;
    Some(Filter {
        program,
        handle: message.header.handle.into(),
        priority: (message.header.info >> 16) as u16,
    })
}
