//! Rates and ratios, round by round, and what to quote of them.

use std::fs;

/// Two rates side by side.
pub(crate) struct Figures {
    title: String,
    mine: Named,
    rival: Named,
    ratios: Vec<f64>,
}

struct Named {
    name: &'static str,
    rates: Vec<f64>,
}

impl Figures {
    pub(crate) fn new(title: &str, mine: &'static str, rival: &'static str) -> Self {
        let named = |name| Named { name, rates: Vec::new() };
        Self { title: title.into(), mine: named(mine), rival: named(rival), ratios: Vec::new() }
    }

    /// Adds a round: both sides did `work` in so many seconds.
    pub(crate) fn add(&mut self, work: f64, mine_seconds: f64, rival_seconds: f64) {
        self.mine.rates.push(work / mine_seconds);
        self.rival.rates.push(work / rival_seconds);
        self.ratios.push(rival_seconds / mine_seconds);
    }

    pub(crate) fn print(&mut self) {
        println!("{}  (minimum, median, maximum of {} rounds)", self.title, self.ratios.len());
        for named in [&mut self.mine, &mut self.rival] {
            let (minimum, median, maximum) = spread(&mut named.rates);
            println!("  {:<36}{minimum:>10.0}{median:>10.0}{maximum:>10.0}", named.name);
        }
        let (minimum, median, maximum) = spread(&mut self.ratios);
        println!("  {:<36}{minimum:>10.2}{median:>10.2}{maximum:>10.2}", "ratio, round by round");
    }
}

/// Minimum, median and maximum.
pub(crate) fn spread(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (at(0), at(values.len() / 2), at(values.len().saturating_sub(1)))
}

/// The machine in a few words.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    format!("{cores} cores, {}", model.trim_start_matches(['\t', ' ', ':']))
}
