//! What is being done and how long it took: a spinner on a terminal, lines elsewhere.

use std::io::{IsTerminal, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the spinner turns.
const TURN: Duration = Duration::from_millis(100);

/// Where there is no terminal, how often a long step says that it goes on.
const REMINDER: Duration = Duration::from_secs(60);

/// Does `work` and says so: what begins, what goes on for long, and the seconds at the end.
pub(crate) fn step<T>(about: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let ticker = Ticker::start(about.to_owned());
    let start = Instant::now();
    let result = work();
    drop(ticker);
    let seconds = start.elapsed().as_secs_f64();
    match &result {
        Ok(_) => eprintln!("  {about:<44} {seconds:>7.1} s"),
        Err(_) => eprintln!("  {about:<44} FAILED after {seconds:.1} s"),
    }
    result
}

/// Says what takes no time.
pub(crate) fn note(text: &str) {
    eprintln!("  {text}");
}

/// A thread that shows that something goes on; it ends with this value.
struct Ticker {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(about: String) -> Self {
        let (end, ended) = channel::<()>();
        let on_terminal = stderr().is_terminal();
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            let pause = if on_terminal { TURN } else { REMINDER };
            let mut turns = (0..4).cycle();
            while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let seconds = start.elapsed().as_secs();
                if on_terminal {
                    let sign = ['|', '/', '-', '\\'][turns.next().unwrap_or_default()];
                    eprint!("\r\x1b[K{sign} {about} ({seconds} s)");
                } else {
                    eprintln!("  {about}: still at it after {seconds} s");
                }
            }
            if on_terminal {
                eprint!("\r\x1b[K");
            }
        });
        Self { end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.end = None;
        if let Some(thread) = self.thread.take() {
            // It only prints; if that panics, nothing is lost.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_returns_what_its_work_returns() {
        assert_eq!(step("counting", || Ok(3)).unwrap(), 3);
        let error = step("failing", || -> anyhow::Result<()> { anyhow::bail!("no") }).unwrap_err();
        assert_eq!(error.to_string(), "no");
    }
}
