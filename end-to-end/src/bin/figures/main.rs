//! What a user of a cluster waits for: how long a new Gateway takes until it answers, and an edit of
//! a route until traffic follows it. `cargo xtask cluster measure` runs this on a real Kubernetes, in
//! which the project's chart is installed.

mod lab;
mod page;
mod traffic;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use lab::{BACKENDS, Lab};
use page::Page;
use traffic::Connection;

/// Measures a cluster: new Gateways, and edits of routes.
#[derive(Parser)]
struct Figures {
    /// The class whose Gateways are measured
    #[arg(long, default_value = "gwapi")]
    class: String,
    /// How many new Gateways are measured, one after the other
    #[arg(long, default_value_t = 10)]
    gateways: usize,
    /// How many routes a Gateway has while they are edited
    #[arg(long, value_delimiter = ',', default_value = "10,1000")]
    routes: Vec<usize>,
    /// How many edits are measured with each number of routes
    #[arg(long, default_value_t = 200)]
    edits: usize,
    /// Fails where even the quickest of the new Gateways takes longer to answer, in milliseconds
    #[arg(long, value_name = "MS")]
    within: Option<u64>,
}

/// The row of what is judged.
const NEW_GATEWAY: &str = "a new Gateway answers";

/// Requests to the API server at a time, where many objects are made.
const AT_A_TIME: usize = 16;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let figures = Figures::parse();
    let lab = Lab::new(&figures.class).await?;
    let page = measure(&lab, &figures).await;
    lab.clean().await?;
    let page = page?;
    print!("{}", page.text());
    figures.within.map_or(Ok(()), |limit| judge(&page, Duration::from_millis(limit)))
}

/// Whether a new Gateway can answer in time. One that is slow may have met a machine with much to do; all of
/// them have not.
fn judge(page: &Page, limit: Duration) -> anyhow::Result<()> {
    let quickest = page.least(NEW_GATEWAY).context("no new Gateway was measured")?;
    ensure!(
        quickest <= limit,
        "no new Gateway answers within {limit:?}: the quickest took {quickest:?}"
    );
    Ok(())
}

async fn measure(lab: &Lab, figures: &Figures) -> anyhow::Result<Page> {
    let mut page = Page::default();
    for backend in BACKENDS {
        lab.backend(backend).await?;
    }
    new_gateways(lab, figures.gateways, &mut page).await?;
    for &routes in &figures.routes {
        edits(lab, routes, figures.edits, &mut page).await?;
    }
    Ok(page)
}

/// From the request that makes a Gateway until it answers at the address in its status, and until that says
/// `Programmed`.
async fn new_gateways(lab: &Lab, count: usize, page: &mut Page) -> anyhow::Result<()> {
    let (mut programmed, mut answering) = (Vec::new(), Vec::new());
    for number in 0..count {
        let gateway = format!("new-{number}");
        lab.route(&gateway, "new.test", &gateway, BACKENDS[0]).await?;
        let start = Instant::now();
        lab.gateway(&gateway).await?;
        let answered = async {
            let address = lab.addressed(&gateway).await?;
            traffic::first_answer(&address, "new.test").await?;
            anyhow::Ok(start.elapsed())
        };
        let told = async {
            lab.programmed(&gateway).await?;
            anyhow::Ok(start.elapsed())
        };
        let (answered, told) = tokio::try_join!(answered, told)?;
        answering.push(answered);
        programmed.push(told);
        let (answered, told) = (answered.as_secs_f64(), told.as_secs_f64());
        eprintln!("  {gateway} answers after {answered:.2} s, is Programmed after {told:.2} s");
        lab.delete_gateway(&gateway).await?;
    }
    page.row(NEW_GATEWAY, answering);
    page.row("a new Gateway is Programmed", programmed);
    Ok(())
}

/// From the request that edits one of many routes until an answer comes by it.
async fn edits(lab: &Lab, routes: usize, count: usize, page: &mut Page) -> anyhow::Result<()> {
    let gateway = format!("many-{routes}");
    lab.gateway(&gateway).await?;
    let address = lab.programmed(&gateway).await?;
    let (name, host) = (|number| format!("r{number}"), |number| format!("r{number}.test"));
    let start = Instant::now();
    stream::iter(0..routes)
        .map(|number| {
            let (name, host, gateway) =
                (format!("{gateway}-{}", name(number)), host(number), &gateway);
            async move { lab.route(&name, &host, gateway, BACKENDS[0]).await }
        })
        .buffer_unordered(AT_A_TIME)
        .try_for_each(async |()| Ok(()))
        .await?;
    let made = start.elapsed();
    let mut connection = Connection::first(&address).await?;
    for number in 0..routes {
        connection.until(&host(number), BACKENDS[0]).await?;
    }
    page.row(&format!("{routes} routes are made"), vec![made]);
    page.row(&format!("{routes} routes answer, all of them"), vec![start.elapsed()]);

    new_routes(lab, &gateway, &mut connection, routes, count, page).await?;

    let (mut live, mut after_reply) = (Vec::new(), Vec::new());
    let mut moved = BTreeSet::new();
    for edit in 0..count {
        // All over the routes, in no order that a table would like.
        let number = edit * 7_919 % routes;
        let to = if moved.remove(&number) { BACKENDS[0] } else { BACKENDS[1] };
        if to == BACKENDS[1] {
            moved.insert(number);
        }
        let host = host(number);
        let start = Instant::now();
        let replied = async {
            lab.lead(&format!("{gateway}-{}", name(number)), to).await?;
            anyhow::Ok(start.elapsed())
        };
        let answered = async {
            connection.until(&host, to).await?;
            anyhow::Ok(start.elapsed())
        };
        let (replied, answered) = tokio::try_join!(replied, answered)
            .with_context(|| format!("edit {edit} of {count}, of {host}"))?;
        live.push(answered);
        after_reply.push(answered.saturating_sub(replied));
        if edit % 50 == 49 {
            eprintln!("  {} of {count} edits among {routes} routes", edit + 1);
        }
    }
    page.row(&format!("an edit among {routes} routes is live"), live);
    page.row("  after the API server's reply", after_reply);
    lab.delete_gateway(&gateway).await?;
    lab.delete_routes().await
}

/// From the request that makes one route more until an answer comes by it.
async fn new_routes(
    lab: &Lab,
    gateway: &str,
    connection: &mut Connection,
    routes: usize,
    count: usize,
    page: &mut Page,
) -> anyhow::Result<()> {
    let mut live = Vec::new();
    for number in 0..count {
        let (name, host) = (format!("{gateway}-more-{number}"), format!("more-{number}.test"));
        let start = Instant::now();
        let answered = async {
            connection.until(&host, BACKENDS[0]).await?;
            anyhow::Ok(start.elapsed())
        };
        let ((), answered) =
            tokio::try_join!(lab.route(&name, &host, gateway, BACKENDS[0]), answered)
                .with_context(|| format!("new route {number} of {count}"))?;
        live.push(answered);
        // So that all are made among as many.
        lab.delete_route(&name).await?;
    }
    page.row(&format!("a new route among {routes} answers"), live);
    Ok(())
}

/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
