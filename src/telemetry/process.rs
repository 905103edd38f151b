//! What Linux says about this process.

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use std::fs;
use std::time::Duration;

/// Use of the machine at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Process {
    pub cpu_s: f64,
    pub resident_bytes: u64,
    pub virtual_bytes: u64,
    pub threads: u64,
    pub open_fds: u64,
    pub max_fds: u64,
    /// Unix time.
    pub started_s: f64,
}

/// Fields of `/proc/self/stat` by their numbers in proc_pid_stat(5), less the two that stand before the
/// end of the name in parentheses, which may hold anything.
const UTIME: usize = 14 - 3;
const STIME: usize = 15 - 3;
const NUM_THREADS: usize = 20 - 3;
const STARTTIME: usize = 22 - 3;
const VSIZE: usize = 23 - 3;
const RSS: usize = 24 - 3;

impl Process {
    /// `None` where there is no `/proc`.
    pub fn look() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let (booted_s, fds) = (booted_s()?, fs::read_dir("/proc/self/fd").ok()?);
        let mut process = Self::parse(&stat, booted_s)?;
        process.open_fds = fds.count().try_into().ok()?;
        process.max_fds = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Some(process)
    }

    fn parse(stat: &str, booted_s: u64) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<u64> = fields
            .split_whitespace()
            // Some are letters or negative; none of those is asked for.
            .map(|field| field.parse().unwrap_or_default())
            .collect();
        let field = |number: usize| fields.get(number).copied();
        let seconds = |ticks: u64| {
            let ms = ticks.saturating_mul(1000) / clock_ticks_per_second().max(1);
            Duration::from_millis(ms).as_secs_f64()
        };
        Some(Self {
            cpu_s: seconds(field(UTIME)?.saturating_add(field(STIME)?)),
            resident_bytes: field(RSS)?.saturating_mul(page_size().try_into().ok()?),
            virtual_bytes: field(VSIZE)?,
            threads: field(NUM_THREADS)?,
            started_s: seconds(field(STARTTIME)?) + Duration::from_secs(booted_s).as_secs_f64(),
            ..Self::default()
        })
    }
}

/// When the machine was started, in unix time.
fn booted_s() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_moves_no_field() {
        let stat = "7 (a) (b 1) S 1 7 7 0 -1 4194560 2 3 0 0 150 50 0 0 20 0 9 0 300 4096000 11 99";
        let process = Process::parse(stat, 1000).unwrap();
        let ticks = clock_ticks_per_second();
        let of =
            |ticks_counted: u64| Duration::from_millis(ticks_counted * 1000 / ticks).as_secs_f64();
        assert_eq!(process.cpu_s, of(200));
        assert_eq!((process.threads, process.virtual_bytes), (9, 4_096_000));
        assert_eq!(
            process.resident_bytes,
            11 * u64::try_from(page_size()).unwrap()
        );
        assert_eq!(process.started_s, 1000.0 + of(300));
    }

    #[test]
    fn this_process_uses_the_machine() {
        let process = Process::look().unwrap();
        assert!(process.resident_bytes > 1 << 20 && process.virtual_bytes > process.resident_bytes);
        assert!(process.threads >= 1 && process.open_fds >= 3);
        assert!(process.max_fds >= process.open_fds);
        assert!(process.started_s > 1_700_000_000.0, "{}", process.started_s);
    }
}
