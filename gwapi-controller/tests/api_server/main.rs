//! The controller against a real API server.
//!
//! It runs where `GWAPI_TEST_KUBECONFIG` names a kubeconfig with every right in a cluster that is for
//! tests alone: CRDs are removed and made anew, and the API server is killed.
//!
//! ```sh
//! cargo xtask cluster up --crds v1.7.0
//! cargo xtask cluster test
//! ```
//!
//! Tests run one after the other. An argument chooses those whose names have it in them; `--list` prints
//! their names, as the test harness of Rust does.

mod admission;
mod api;
mod controller;
mod scenarios;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use api::Api;

/// Where the kubeconfig is.
const KUBECONFIG: &str = "GWAPI_TEST_KUBECONFIG";

type Scenario = (&'static str, fn(Api) -> BoxFuture<'static, ()>);

fn main() -> ExitCode {
    let chosen = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let chosen = chosen.unwrap_or_default();
    if std::env::args().any(|argument| argument == "--list") {
        for (name, _) in scenarios(&chosen) {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let Ok(kubeconfig) = std::env::var(KUBECONFIG) else {
        println!("\nNOTHING WAS TESTED against an API server: {KUBECONFIG} is not set.");
        println!("`cargo xtask cluster test` runs these tests.\n");
        return ExitCode::SUCCESS;
    };
    if std::env::var_os("RUST_LOG").is_some() {
        tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let failed = runtime.expect("a runtime").block_on(run(&kubeconfig, &chosen));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The scenarios whose names have this in them.
fn scenarios(chosen: &str) -> impl Iterator<Item = &'static Scenario> {
    scenarios::ALL.iter().filter(move |(name, _)| name.contains(chosen))
}

/// Runs the scenarios that are chosen, and tells how many failed.
async fn run(kubeconfig: &str, chosen: &str) -> usize {
    let mut failed = 0;
    let mut passed = 0;
    for (name, scenario) in scenarios(chosen) {
        let started = Instant::now();
        let api = Api::connect(kubeconfig).await;
        let outcome = AssertUnwindSafe(scenario(api)).catch_unwind().await;
        let seconds = started.elapsed().as_secs_f32();
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("test {name} ... ok ({seconds:.1} s)");
            }
            Err(_) => {
                failed += 1;
                println!("test {name} ... FAILED ({seconds:.1} s)");
            }
        }
    }
    assert!(passed + failed > 0, "no test has `{chosen}` in its name");
    println!("\n{passed} passed, {failed} failed\n");
    failed
}
