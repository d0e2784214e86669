//! `mptcp-user status`

mod entry;
mod json;
mod text;

use anyhow::Result;

use self::{
    entry::{Entry, entry, entry_elsewhere},
    json::json,
    text::table,
};
use super::{output::print, probes::OUTSIDE};
use crate::{
    args::{StatusArgs, StatusOutput},
    failure::Notice,
    probe::{self, Network, Pins},
    text::shown,
};

pub(crate) async fn run(pins: &Pins, only_here: bool, options: &StatusArgs) -> Result<()> {
    probe::sweep(pins);
    let entries = entries(pins, only_here).await?;
    let text = match options.output {
        StatusOutput::Json => format!("{:#}\n", json(pins, &entries)),
        StatusOutput::Table if entries.is_empty() => {
            let next = if pins.are_out_of_sight() {
                OUTSIDE
            } else {
                "mptcp-user attach -i IFACE"
            };
            let notice = Notice::new(format!("no probe under {}", shown(pins.root())));
            format!("{}\n", notice.next(next))
        }
        StatusOutput::Table => table(pins, &entries),
    };
    print(&text)
}

async fn entries(pins: &Pins, only_here: bool) -> Result<Vec<Entry>> {
    let namespace = probe::namespace()?;
    let _lock = pins.lock_to_read(None).await?;
    let network = Network::connect()?;
    let mut entries = Vec::new();
    for here in pins.interfaces()? {
        if here.namespace == namespace {
            entries.push(entry(&network, here).await?);
        } else if !only_here {
            entries.push(entry_elsewhere(here)?);
        }
    }
    Ok(entries)
}
