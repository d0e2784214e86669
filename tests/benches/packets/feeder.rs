//! The programs that make one frame the packets of many sessions (`mptcp-ebpf/src/bench.rs`).

use std::{env, time::Instant};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, ProgramArray},
    programs::{
        ProgramFd, SchedClassifier, TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode,
    },
};
use mptcp_tests::kernel::{Kernel, PASS};
use nix::sched::{CloneFlags, unshare};

use crate::traffic::Packets;

#[path = "../../../mptcp-ebpf/src/step.rs"]
mod step;

pub(crate) use step::{Numbers, Record, Step, writes};

// SAFETY: integers without padding.
unsafe impl aya::Pod for Record {}
// SAFETY: as above.
unsafe impl aya::Pod for Step {}

/// `XDP_DROP`
const DROP: u32 = 1;

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Xdp,
    Tc,
}

impl Hook {
    pub(crate) const ALL: [Self; 2] = [Self::Xdp, Self::Tc];
}

/// What runs behind the frame's making.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    /// A program that does nothing, or whose time is to be subtracted as well.
    Floor,
    /// The program that is measured.
    Measured,
}

pub(crate) struct Feeder {
    programs: Ebpf,
    step: Array<MapData, Step>,
    switch: Array<MapData, u32>,
    records: Array<MapData, Record>,
    xdp: ProgramArray<MapData>,
    tc: ProgramArray<MapData>,
    tc_ingress: ProgramArray<MapData>,
}

impl Feeder {
    /// With room for this many records.
    pub(crate) fn new(records: u32) -> Result<Self> {
        let object = env::var_os("MPTCP_BENCH_OBJECT")
            .context("MPTCP_BENCH_OBJECT is not set (next: cargo xtask bench)")?;
        let mut programs = EbpfLoader::new()
            .map_max_entries("RECORDS", records)
            .load_file(object)
            .context("cannot load the benchmark's eBPF object, which needs root")?;
        let mut take = |name| {
            programs
                .take_map(name)
                .with_context(|| format!("no map {name}"))
        };
        let mut feeder = Self {
            step: take("STEP")?.try_into()?,
            switch: take("SWITCH")?.try_into()?,
            records: take("RECORDS")?.try_into()?,
            xdp: take("XDP_PROGRAMS")?.try_into()?,
            tc: take("TC_PROGRAMS")?.try_into()?,
            tc_ingress: take("TC_INGRESS_PROGRAMS")?.try_into()?,
            programs,
        };
        for name in [
            "xdp_nothing",
            "xdp_drop",
            "xdp_lines",
            "xdp_lookup",
            "xdp_walk",
            "xdp_feed",
            "xdp_send",
            "xdp_switch",
        ] {
            feeder.xdp(name)?.load()?;
        }
        for name in ["tc_nothing", "tc_feed", "tc_switch", "tc_ingress_switch"] {
            feeder.tc(name)?.load()?;
        }
        // A test run of an XDP program that is nowhere attached waits for all CPUs, twice.
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        feeder.xdp("xdp_feed")?.attach("lo", XdpMode::Skb)?;
        feeder.subtract(None)?;
        Ok(feeder)
    }

    pub(crate) fn xdp(&mut self, name: &str) -> Result<&mut Xdp> {
        let program = self.programs.program_mut(name);
        Ok(program
            .with_context(|| format!("no program {name}"))?
            .try_into()?)
    }

    pub(crate) fn tc(&mut self, name: &str) -> Result<&mut SchedClassifier> {
        let program = self.programs.program_mut(name);
        Ok(program
            .with_context(|| format!("no program {name}"))?
            .try_into()?)
    }

    /// Measures a probe's programs from now on.
    pub(crate) fn measure(&mut self, probe: &Kernel) -> Result<()> {
        self.put(Behind::Measured, probe)
    }

    /// Measures an XDP program from now on.
    pub(crate) fn measure_program(&mut self, program: &ProgramFd) -> Result<()> {
        Ok(self.xdp.set(Behind::Measured as u32, program, 0)?)
    }

    /// Measures a program of this object from now on.
    pub(crate) fn measure_own(&mut self, name: &str) -> Result<()> {
        let program = self.xdp(name)?.fd()?.try_clone()?;
        Ok(self.xdp.set(Behind::Measured as u32, &program, 0)?)
    }

    /// Subtracts the time of a probe's programs from now on, or that of programs that do nothing.
    pub(crate) fn subtract(&mut self, probe: Option<&Kernel>) -> Result<()> {
        if let Some(probe) = probe {
            return self.put(Behind::Floor, probe);
        }
        let nothing = self.xdp("xdp_nothing")?.fd()?.try_clone()?;
        self.xdp.set(Behind::Floor as u32, &nothing, 0)?;
        let nothing = self.tc("tc_nothing")?.fd()?.try_clone()?;
        self.tc.set(Behind::Floor as u32, &nothing, 0)?;
        Ok(self.tc_ingress.set(Behind::Floor as u32, &nothing, 0)?)
    }

    fn put(&mut self, behind: Behind, probe: &Kernel) -> Result<()> {
        self.xdp.set(behind as u32, probe.xdp()?.fd()?, 0)?;
        self.tc.set(behind as u32, probe.tc(false)?.fd()?, 0)?;
        let ingress = probe.tc(true)?.fd()?;
        Ok(self.tc_ingress.set(behind as u32, ingress, 0)?)
    }

    /// Fills records from a place on.
    pub(crate) fn fill(
        &mut self,
        at: u32,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<()> {
        for (place, record) in (at..).zip(records) {
            self.records.set(place, record, 0)?;
        }
        Ok(())
    }

    /// Nanoseconds per packet of what is subtracted and of what is measured, over packets from
    /// number `from` on.
    pub(crate) fn sample(
        &mut self,
        hook: Hook,
        packets: &Packets,
        from: u64,
        count: u32,
    ) -> Result<[f64; 2]> {
        Ok([
            self.run(hook, Behind::Floor, packets, from, count)?,
            self.run(hook, Behind::Measured, packets, from, count)?,
        ])
    }

    /// Lets packets pass through both.
    pub(crate) fn pass(&mut self, packets: &Packets, from: u64, count: u32) -> Result<()> {
        self.sample(Hook::Xdp, packets, from, count)?;
        Ok(())
    }

    /// Lets what is measured, or what does nothing, run behind the switches from now on.
    pub(crate) fn switch(&mut self, is_measured: bool) -> Result<()> {
        Ok(self.switch.set(0, u32::from(is_measured), 0)?)
    }

    /// Frames a second that an interface sends.
    pub(crate) fn send(
        &mut self,
        interface: u32,
        packets: &Packets,
        from: u64,
        count: u32,
    ) -> Result<f64> {
        const BATCH: u32 = 64;
        self.step.set(0, packets.step(from), 0)?;
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
        let context: Vec<u8> = [0, packets.frame.len() as u32, 0, interface, 0, 0]
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect();
        let mut options = TestRunOptions::new();
        options.data_in = Some(&packets.frame);
        options.ctx_in = Some(&context);
        options.repeat = count;
        options.attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
        let start = Instant::now();
        self.xdp("xdp_send")?.test_run(options)?;
        Ok(f64::from(count) / start.elapsed().as_secs_f64())
    }

    fn run(
        &mut self,
        hook: Hook,
        behind: Behind,
        packets: &Packets,
        from: u64,
        count: u32,
    ) -> Result<f64> {
        let step = Step {
            packets: count,
            is_measured: behind as u32,
            ..packets.step(from)
        };
        self.step.set(0, step, 0)?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(&packets.frame);
        options.repeat = count;
        let result = match hook {
            Hook::Xdp => self.xdp("xdp_feed")?.test_run(options)?,
            Hook::Tc => self.tc("tc_feed")?.test_run(options)?,
        };
        let verdict = result.return_value;
        ensure!(
            PASS.contains(&verdict) || verdict == DROP,
            "verdict {verdict}"
        );
        // The result has a time, too, but in whole nanoseconds per packet.
        let step = self.step.get(&0, 0)?;
        let between = count.saturating_sub(1).max(1);
        Ok(step.last_at.saturating_sub(step.first_at) as f64 / f64::from(between))
    }
}
