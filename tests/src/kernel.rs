//! The eBPF programs, run by the kernel on frames that a test made (BPF_PROG_TEST_RUN).

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{MapData, PerCpuArray},
    programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp},
};
use mptcp_common::{
    counter::{Counters, Role},
    engine::Policy,
};

/// `XDP_PASS` and `TC_ACT_UNSPEC`: the frame goes on.
const PASS: [u32; 2] = [2, u32::MAX];

#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
struct Raw(Counters);

// SAFETY: integers without padding (`Counters` is `bytemuck::Pod`).
unsafe impl aya::Pod for Raw {}

/// Which program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `xdp_ingress`
    XdpIngress,
    /// `tc_ingress`
    TcIngress,
    /// `tc_egress`
    TcEgress,
}

/// What a program is loaded with.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Host or middlebox.
    pub role: Role,
    /// No link-layer header.
    pub layer_3: bool,
    /// What the policy rows are judged by.
    pub policy: Policy,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            role: Role::Host,
            layer_3: false,
            policy: Policy::default(),
        }
    }
}

/// The programs, loaded, with counters of their own.
pub struct Kernel {
    programs: Ebpf,
    counters: PerCpuArray<MapData, Raw>,
    before: Counters,
}

impl Kernel {
    /// Loads all programs in the host role.
    pub fn new() -> Result<Self> {
        Self::with(Config::default())
    }

    /// Loads all programs.
    pub fn with(config: Config) -> Result<Self> {
        let (role, layer_3, log) = (config.role as u8, u8::from(config.layer_3), 0_u8);
        let Policy {
            min_mss_v4,
            min_mss_v6,
            version_0,
        } = config.policy;
        let version_0 = u8::from(version_0);
        let mut programs = EbpfLoader::new()
            .override_global("ROLE", &role, true)
            .override_global("LAYER_3", &layer_3, true)
            .override_global("MIN_MSS_V4", &min_mss_v4, true)
            .override_global("MIN_MSS_V6", &min_mss_v6, true)
            .override_global("VERSION_0", &version_0, true)
            .override_global("AYA_LOG_LEVEL", &log, true)
            .load(mptcp_user::OBJECT)
            .context("cannot load the eBPF object; the tests need root")?;
        for name in ["tc_ingress", "tc_egress"] {
            classifier(&mut programs, name)?.load()?;
        }
        xdp(&mut programs)?.load()?;
        let counters = programs.take_map("COUNTERS").context("no map COUNTERS")?;
        Ok(Self {
            programs,
            counters: PerCpuArray::try_from(counters)?,
            before: Counters::default(),
        })
    }

    /// Runs a program on a frame, and returns what it counted. Fails if the frame is not passed,
    /// not unchanged, or not counted as one packet in one leaf.
    pub fn run(&mut self, program: Program, frame: &[u8]) -> Result<Counters> {
        self.run_with(program, frame, None, 1)
    }

    /// The same with a context (`struct xdp_md` or `struct __sk_buff`), for `packets` packets.
    pub fn run_with(
        &mut self,
        program: Program,
        frame: &[u8],
        context: Option<&[u8]>,
        packets: u64,
    ) -> Result<Counters> {
        let mut out = vec![0xa5; frame.len() + 64];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        options.ctx_in = context;
        let result = match program {
            Program::XdpIngress => xdp(&mut self.programs)?.test_run(options)?,
            Program::TcIngress => {
                classifier(&mut self.programs, "tc_ingress")?.test_run(options)?
            }
            Program::TcEgress => classifier(&mut self.programs, "tc_egress")?.test_run(options)?,
        };
        ensure!(
            PASS.contains(&result.return_value),
            "verdict {}",
            result.return_value
        );
        ensure!(
            out[..frame.len()] == *frame,
            "the program changed the frame"
        );
        ensure!(
            out[frame.len()..].iter().all(|byte| *byte == 0xa5),
            "the program made the frame longer"
        );
        let now = self.read()?;
        let counted = now.since(&self.before);
        self.before = now;
        ensure!(now.is_settled(), "frames and leaves differ: {now:?}");
        ensure!(
            counted.frames == packets,
            "{} packets were counted",
            counted.frames
        );
        Ok(counted)
    }

    /// All counts so far.
    pub fn read(&self) -> Result<Counters> {
        let mut sum = Counters::default();
        for cpu in self.counters.get(&0, 0)?.iter() {
            sum.add(&cpu.0);
        }
        Ok(sum)
    }
}

fn xdp(programs: &mut Ebpf) -> Result<&mut Xdp> {
    Ok(programs
        .program_mut("xdp_ingress")
        .context("no program xdp_ingress")?
        .try_into()?)
}

fn classifier<'a>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    Ok(programs
        .program_mut(name)
        .with_context(|| format!("no program {name}"))?
        .try_into()?)
}
