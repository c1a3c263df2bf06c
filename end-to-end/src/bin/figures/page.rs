//! The table of what was measured.

use std::time::Duration;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

/// Rows of milliseconds.
#[derive(Default)]
pub(crate) struct Page {
    rows: Vec<(String, Vec<Duration>)>,
}

impl Page {
    /// Adds what was measured, in any order.
    pub(crate) fn row(&mut self, what: &str, mut times: Vec<Duration>) {
        times.sort_unstable();
        self.rows.push((what.to_owned(), times));
    }

    /// The least of a row.
    pub(crate) fn least(&self, what: &str) -> Option<Duration> {
        let (_, times) = self.rows.iter().find(|(row, _)| row == what)?;
        times.first().copied()
    }

    /// The table, as Markdown.
    pub(crate) fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN);
        table.set_header(["ms", "times", "p50", "p99", "most"]);
        for (what, times) in &self.rows {
            let at = |percent: usize| milliseconds(percentile(times, percent));
            table.add_row([what.clone(), times.len().to_string(), at(50), at(99), at(100)]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("{table}\n")
    }
}

/// The smallest of sorted times that as many percent of them do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn milliseconds(time: Option<Duration>) -> String {
    time.map_or_else(String::new, |time| format!("{:.1}", time.as_secs_f64() * 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_a_row_is_that_of_all_times_in_it() {
        let mut page = Page::default();
        page.row("it answers", [3, 1, 2].map(Duration::from_secs).to_vec());
        page.row("nothing", Vec::new());
        assert_eq!(page.least("it answers"), Some(Duration::from_secs(1)));
        assert_eq!((page.least("nothing"), page.least("it waits")), (None, None));
    }

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        let at = |percent| percentile(&times, percent).expect("there are times").as_millis();
        assert_eq!((at(50), at(99), at(100)), (100, 198, 200));
        assert_eq!(percentile(&times[..1], 50), Some(times[0]));
        assert_eq!(percentile(&[], 50), None);
    }
}
