//! What a route table costs with 40,000 rules: `cargo run --release -p gwapi-translate --example
//! table_bench`.
//!
//! Every answer is checked before anything is timed.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gwapi_model::NamespacedName;
use gwapi_translate::RouteTable;
use gwapi_translate::ir::*;
use gwapi_translate::table::RequestHead;
use http::HeaderMap;

const RULES: usize = 40_000;

/// A way to spread rules over hosts and paths.
struct Shape {
    name: &'static str,
    host: fn(usize) -> String,
    path: fn(usize) -> String,
    /// Value of the header `x-tenant`, where rules differ by nothing else.
    tenant: fn(usize) -> Option<String>,
    rules: usize,
}

const SHAPES: [Shape; 3] = [
    Shape {
        name: "prefixes of one host",
        host: |_| "www.example.com".to_owned(),
        path: |index| format!("/team-{}/service-{index}", index % 100),
        tenant: |_| None,
        rules: RULES,
    },
    Shape {
        name: "a host each",
        host: |index| format!("host-{index}.example.com"),
        path: |_| String::new(),
        tenant: |_| None,
        rules: RULES,
    },
    Shape {
        name: "headers of one path",
        host: |_| "www.example.com".to_owned(),
        path: |_| "/api".to_owned(),
        tenant: |index| Some(format!("tenant-{index}")),
        rules: 5_000,
    },
];

impl Shape {
    fn rule(&self, index: usize) -> IrResource {
        let tenant = (self.tenant)(index).map(|value| HeaderMatch {
            name: "x-tenant".into(),
            value: ValueMatch::Exact(value.into()),
        });
        IrResource::HttpRule(Arc::new(HttpRule {
            key: RuleKey::new(format!("ns/route-{index}/0")),
            route: NamespacedName::new("ns", format!("route-{index}")),
            route_kind: gwapi_model::RouteKind::Http,
            name: None,
            order: RuleOrder { created: 0, route: format!("ns/route-{index:05}"), rule_index: 0 },
            listeners: [ListenerKey::new("web")].into(),
            hostnames: [Hostname::parse(&(self.host)(index))].into(),
            matches: vec![HttpMatch {
                path: PathMatch::Prefix((self.path)(index).into()),
                headers: tenant.into_iter().collect(),
                ..HttpMatch::default()
            }],
            filters: Vec::new(),
            backends: Vec::new(),
            timeouts: None,
            retry: None,
            session: None,
        }))
    }

    fn measure(&self) -> Result<(), Box<dyn Error>> {
        let listener = Listener {
            key: ListenerKey::new("web"),
            addresses: vec![[127, 0, 0, 1].into()],
            port: 80,
            protocol: ListenerProtocol::Http,
            hostname: None,
            filters: Vec::new(),
        };
        let listener = IrResource::Listener(Arc::new(listener));
        let resources = (0..self.rules).map(|index| self.rule(index)).chain([listener]);
        let config = GatewayConfig(resources.map(|resource| (resource.key(), resource)).collect());

        let before = resident_bytes()?;
        let start = Instant::now();
        let table = RouteTable::compile(&config);
        let compiled = start.elapsed();
        let grown = resident_bytes()?.saturating_sub(before);

        let last = self.rules - 1;
        let lookup = self.lookup(&table, last)?;
        let edit = self.edit(&table, last)?;
        println!("{} {}", self.rules, self.name);
        println!("  compile          {compiled:>10.1?}   {} KiB more resident", grown / 1024);
        println!("  last rule        {lookup:>10.1?}   a lookup");
        println!("  one rule edited  {edit:>10.1?}   median of 200 removals and insertions");
        Ok(())
    }

    /// Time of one lookup.
    fn lookup(&self, table: &RouteTable, index: usize) -> Result<Duration, Box<dyn Error>> {
        const LOOKUPS: u32 = 2_000;
        let (host, path) = ((self.host)(index), (self.path)(index) + "/items/7");
        let mut headers = HeaderMap::new();
        if let Some(tenant) = (self.tenant)(index) {
            headers.insert("x-tenant", tenant.parse()?);
        }
        let request = RequestHead {
            host: &host,
            authority: &host,
            path: &path,
            query: None,
            method: "GET",
            headers: &headers,
        };
        let listener = table.listener_for_host(80, &host).ok_or("no listener")?;
        let expected = format!("ns/route-{index}/0");
        let start = Instant::now();
        for _ in 0..LOOKUPS {
            let found = table.route(listener, std::hint::black_box(&request)).ok_or("no rule")?;
            assert_eq!(found.rule.key.as_str(), expected);
        }
        Ok(start.elapsed() / LOOKUPS)
    }

    /// Median time to take one rule out and to put it back, the old table dropped.
    fn edit(&self, table: &RouteTable, index: usize) -> Result<Duration, Box<dyn Error>> {
        let resource = self.rule(index);
        let removal = ConfigDelta { removals: vec![resource.key()], upserts: Vec::new() };
        let insertion = ConfigDelta { upserts: vec![resource], removals: Vec::new() };
        let mut table = table.clone();
        let mut times = Vec::new();
        for _ in 0..100 {
            for delta in [&removal, &insertion] {
                let start = Instant::now();
                table = table.apply(delta);
                times.push(start.elapsed());
            }
        }
        self.lookup(&table, index)?;
        times.sort();
        Ok(times[times.len() / 2])
    }
}

/// Resident memory of this process (Linux); 0 where it is not told.
fn resident_bytes() -> Result<usize, Box<dyn Error>> {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return Ok(0) };
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).unwrap_or("0");
    Ok(kib.parse::<usize>()? * 1024)
}

fn main() -> Result<(), Box<dyn Error>> {
    SHAPES.iter().try_for_each(Shape::measure)
}
