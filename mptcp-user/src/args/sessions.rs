//! What is typed for `sessions` and `events`.

use std::net::IpAddr;

use clap::{Args, ValueEnum};

use super::input::CaptureFile;
use crate::snapshot::{
    select::{Order, Selection},
    session::SessionState,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mptcp-user sessions                                    those of all probes\n  \
    mptcp-user sessions --address 192.0.2.17 --sort bytes --limit 10\n  \
    mptcp-user sessions trace.pcap                         those that exist at the end of a capture")]
pub(crate) struct SessionsArgs {
    /// Only sessions with a subflow from or to this address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Option<IpAddr>,
    /// Only sessions with a subflow from or to this port
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Only sessions in this state
    #[arg(long, value_enum)]
    pub(crate) state: Option<StateName>,
    /// The oldest, the least idle, those with most bytes or most subflows first
    #[arg(long, value_enum, default_value_t = SortBy::Age)]
    pub(crate) sort: SortBy,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Numbers in full
    #[arg(long)]
    pub(crate) full_values: bool,
    /// Form of the output; a table has 10,000 sessions at most, and more come in further ones
    #[arg(long, value_enum, default_value_t = SessionsOutput::Table)]
    pub(crate) output: SessionsOutput,
    #[command(flatten)]
    pub(crate) capture: CaptureFile,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mptcp-user events                                      as they happen, until interrupted\n  \
    mptcp-user events --count 1 --output jsonl             the next one\n  \
    mptcp-user events trace.pcap                           those of a capture")]
pub(crate) struct EventsArgs {
    /// End after so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = EventsOutput::Text)]
    pub(crate) output: EventsOutput,
    #[command(flatten)]
    pub(crate) capture: CaptureFile,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventsOutput {
    Text,
    /// One object and line for each event
    Jsonl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateName {
    Established,
    Closing,
    Fallback,
    Alone,
}

impl From<StateName> for SessionState {
    fn from(name: StateName) -> Self {
        match name {
            StateName::Established => Self::Established,
            StateName::Closing => Self::Closing,
            StateName::Fallback => Self::Fallback,
            StateName::Alone => Self::Alone,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortBy {
    Age,
    Idle,
    Bytes,
    Subflows,
}

impl From<SortBy> for Order {
    fn from(by: SortBy) -> Self {
        match by {
            SortBy::Age => Self::Oldest,
            SortBy::Idle => Self::LeastIdle,
            SortBy::Bytes => Self::MostBytes,
            SortBy::Subflows => Self::MostSubflows,
        }
    }
}

impl SessionsArgs {
    /// Which sessions are asked for.
    pub(crate) fn selection(&self) -> Selection {
        Selection {
            address: self.address,
            port: self.port,
            state: self.state.map(SessionState::from),
            order: self.sort.into(),
            limit: self.limit,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SessionsOutput {
    Table,
    Json,
}
