//! TCPRoutes: bytes both ways, of which nothing is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gwapi_dataplane::{Drained, Limits};
use gwapi_model::RouteKind;
use gwapi_translate::ir::{BackendTarget, IrResource, RuleOrder, StreamRule, WeightedBackend};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::streams::*;
use super::support::upstream::refusing;
use super::support::*;

fn tcp_rule(name: &str, backends: Vec<WeightedBackend>) -> StreamRule {
    stream_rule(RouteKind::Tcp, name, &[], backends)
}

/// A listener `web` on the port, and a rule for it.
fn tcp(port: u16, backends: Vec<WeightedBackend>, mut more: Vec<IrResource>) -> Vec<IrResource> {
    more.extend([ir_listener(tcp_listener(port)), ir_stream(tcp_rule("app", backends))]);
    more
}

fn to_nowhere() -> WeightedBackend {
    let target = BackendTarget::Invalid("the reference is not granted".to_owned());
    WeightedBackend { weight: 1, target, filters: Vec::new() }
}

#[tokio::test]
async fn the_server_may_speak_first() {
    let endpoint = greeting("220 ready\r\n").await;
    let proxy = serve(|port| tcp(port, to("app"), tcp_backend("app", &[endpoint.address])));
    let mut client = connect(proxy.address).await;
    assert_eq!(read(&mut client, 11).await, b"220 ready\r\n");
    within(client.write_all(b"HELO\r\n")).await.expect("it reads");
    assert_eq!(read(&mut client, 6).await, b"HELO\r\n");
}

/// L4-7
#[tokio::test]
async fn the_end_of_one_way_is_passed_on_and_the_other_way_goes_on() {
    // Reads to the end, tells how much that was, and closes.
    let counts = Scripted::start(|mut stream, _| async move {
        let mut got = Vec::new();
        let _ = stream.read_to_end(&mut got).await;
        let _ = stream.write_all(format!("{} bytes", got.len()).as_bytes()).await;
    })
    .await;
    let proxy = serve(|port| tcp(port, to("app"), tcp_backend("app", &[counts.address])));
    let mut client = connect(proxy.address).await;
    within(client.write_all(&[7; 100_000])).await.expect("it reads");
    client.shutdown().await.expect("it is open");
    assert_eq!(rest(&mut client).await, b"100000 bytes");

    // The same from the other side: it ends first, and still hears what the client says.
    let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let listens = Scripted::start(move |mut stream, _| {
        let sender = sender.clone();
        async move {
            let _ = stream.write_all(b"last words").await;
            let _ = stream.shutdown().await;
            let mut got = Vec::new();
            let _ = stream.read_to_end(&mut got).await;
            let _ = sender.send(got);
        }
    })
    .await;
    let proxy = serve(|port| tcp(port, to("app"), tcp_backend("app", &[listens.address])));
    let mut client = connect(proxy.address).await;
    let mut words = Vec::new();
    within(client.read_to_end(&mut words)).await.expect("it ends as it should");
    assert_eq!(words, b"last words");
    within(client.write_all(b"heard")).await.expect("this way is open");
    client.shutdown().await.expect("it is open");
    assert_eq!(within(heard.recv()).await.as_deref(), Some(&b"heard"[..]));
}

#[tokio::test]
async fn who_reads_slowly_sets_the_pace_and_nothing_piles_up() {
    const SIZE: usize = 64 * 1024 * 1024;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let endpoint = Scripted::start(move |mut stream, _| {
        let count = Arc::clone(&count);
        async move {
            let mut piece = [0; 64 * 1024];
            for number in 0..SIZE / piece.len() {
                piece.fill(number as u8);
                if stream.write_all(&piece).await.is_err() {
                    return;
                }
                count.fetch_add(piece.len(), Ordering::SeqCst);
            }
        }
    })
    .await;
    let proxy = serve(|port| tcp(port, to("app"), tcp_backend("app", &[endpoint.address])));
    let mut client = connect(proxy.address).await;
    let mut piece = vec![0; 64 * 1024];
    for number in 0..SIZE / piece.len() {
        within(client.read_exact(&mut piece)).await.expect("it comes");
        assert!(piece.iter().all(|byte| *byte == number as u8), "piece {number} is whole");
        let read = (number + 1) * piece.len();
        // What is on its way is what the kernel holds for three sockets, a few megabytes each.
        let ahead = sent.load(Ordering::SeqCst).saturating_sub(read);
        assert!(ahead < SIZE / 2, "{ahead} bytes wait after {read}");
    }
    assert_eq!(rest(&mut client).await, b"");
}

/// L4-5.
#[tokio::test]
async fn connections_are_spread_by_weight() {
    let (a, to_a) = counting("a").await;
    let (b, to_b) = counting("b").await;
    let (none, to_none) = counting("none").await;
    let proxy = serve(|port| {
        let mut more = tcp_backend("a", &[a.address]);
        more.extend(tcp_backend("b", &[b.address]));
        more.extend(tcp_backend("none", &[none.address]));
        tcp(port, vec![weighted("a", 70), weighted("none", 0), weighted("b", 30)], more)
    });
    for _ in 0..1000 {
        let mut client = connect(proxy.address).await;
        read(&mut client, 1).await;
    }
    let [a, b, none] = [to_a, to_b, to_none].map(|count| count.load(Ordering::Relaxed));
    assert_eq!((a + b, none), (1000, 0));
    assert!((650..=750).contains(&a), "{a} of 1000 went to the backend of 70 %");
}

/// LI-3, L4-4.
#[tokio::test]
async fn what_leads_nowhere_is_closed_without_a_byte() {
    let (_deaf, refusing) = refusing();
    let mut none = to("app");
    none[0].weight = 0;
    let cases = [
        ("no backends", vec![], vec![]),
        ("a reference that is not granted", vec![to_nowhere()], vec![]),
        ("a backend that is missing", to("app"), vec![]),
        ("a backend without weight", none, tcp_backend("app", &[refusing])),
        ("a backend without endpoints", to("app"), tcp_backend("app", &[])),
        ("an endpoint that refuses", to("app"), tcp_backend("app", &[refusing])),
    ];
    for (what, backends, more) in cases {
        let proxy = serve(|port| tcp(port, backends.clone(), more.clone()));
        assert_eq!(client::raw(proxy.address, b"hello").await, "", "{what}");
    }
    let proxy = serve(|port| vec![ir_listener(tcp_listener(port))]);
    assert_eq!(client::raw(proxy.address, b"hello").await, "", "no route");
}

#[tokio::test]
async fn each_reason_is_counted() {
    let proxy = serve_with_metrics(|port| tcp(port, to("app"), tcp_backend("app", &[])));
    client::raw(proxy.address, b"").await;
    let of = r#"gateway="default/web",listener="web""#;
    let line = format!(r#"gwapi_rejected_connections_total{{{of},reason="no_endpoint"}} 1"#);
    proxy.until_metric(&line).await;
    proxy.until_metric(&format!("gwapi_connections_total{{{of}}} 1")).await;
    proxy.until_metric(&format!("gwapi_connections_active{{{of}}} 0")).await;
}

/// L4-4.
#[tokio::test]
async fn a_share_without_a_backend_is_lost_to_nobody_else() {
    let endpoint = greeting("a").await;
    let proxy = serve(|port| {
        let backends = vec![weighted("app", 1), to_nowhere()];
        tcp(port, backends, tcp_backend("app", &[endpoint.address]))
    });
    let mut served = 0;
    for _ in 0..100 {
        let mut client = connect(proxy.address).await;
        let mut first = [0];
        served += within(client.read(&mut first)).await.unwrap_or(0);
    }
    assert!((45..=55).contains(&served), "{served} of 100 were served");
}

/// L4-8, RG-3: of a grant that goes this is what is left in the configuration.
#[tokio::test]
async fn a_backend_that_is_not_granted_any_more_gets_no_other_connection() {
    let endpoint = greeting("a").await;
    let app = tcp_backend("app", &[endpoint.address]);
    let mut proxy = serve(|port| tcp(port, to("app"), app.clone()));
    let mut before = connect(proxy.address).await;
    assert_eq!(read(&mut before, 1).await, b"a");
    proxy.set(tcp(proxy.address.port(), vec![to_nowhere()], app.clone()));
    assert_eq!(client::raw(proxy.address, b"hello").await, "");
    // What was there stays where it is.
    within(before.write_all(b"still")).await.expect("it reads");
    assert_eq!(read(&mut before, 5).await, b"still");
    proxy.set(tcp(proxy.address.port(), to("app"), app));
    let mut after = connect(proxy.address).await;
    assert_eq!(read(&mut after, 1).await, b"a");
}

#[tokio::test]
async fn another_endpoint_is_tried_where_one_refuses() {
    let (_deaf, refusing) = refusing();
    let endpoint = greeting("a").await;
    let addresses = [refusing, endpoint.address];
    let proxy = serve(|port| tcp(port, to("app"), tcp_backend("app", &addresses)));
    for _ in 0..10 {
        let mut client = connect(proxy.address).await;
        assert_eq!(read(&mut client, 1).await, b"a");
    }
}

/// L4-3.
#[tokio::test]
async fn of_several_routes_the_oldest_is_served_until_it_goes() {
    let (old, young) = (greeting("o").await, greeting("y").await);
    let age = |created, rule: StreamRule| {
        ir_stream(StreamRule { order: RuleOrder { created, ..rule.order.clone() }, ..rule })
    };
    let resources = |port: u16, both: bool| {
        let mut resources = tcp_backend("old", &[old.address]);
        resources.extend(tcp_backend("young", &[young.address]));
        resources.push(ir_listener(tcp_listener(port)));
        resources.push(age(2, tcp_rule("a", to("young"))));
        if both {
            resources.push(age(1, tcp_rule("b", to("old"))));
        }
        resources
    };
    let mut proxy = serve(|port| resources(port, true));
    let mut before = connect(proxy.address).await;
    assert_eq!(read(&mut before, 1).await, b"o");
    proxy.set(resources(proxy.address.port(), false));
    let mut after = connect(proxy.address).await;
    assert_eq!(read(&mut after, 1).await, b"y");
    // What was there stays where it is.
    within(before.write_all(b"still")).await.expect("it reads");
    assert_eq!(read(&mut before, 5).await, b"still");
}

#[tokio::test]
async fn a_connection_outlives_its_listener() {
    let endpoint = greeting("a").await;
    let mut proxy = serve(|port| tcp(port, to("app"), tcp_backend("app", &[endpoint.address])));
    let mut client = connect(proxy.address).await;
    read(&mut client, 1).await;
    proxy.set(Vec::new());
    let refused = within(TcpStream::connect(proxy.address)).await;
    assert!(refused.is_err(), "nothing listens any more");
    within(client.write_all(b"still")).await.expect("it reads");
    assert_eq!(read(&mut client, 5).await, b"still");
}

#[tokio::test]
async fn a_drain_waits_for_connections_and_cuts_them_at_its_end() {
    let endpoint = greeting("a").await;
    let limits = Limits {
        drain_quiet: Duration::ZERO,
        drain_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let proxy =
        serve_with(limits, |port| tcp(port, to("app"), tcp_backend("app", &[endpoint.address])));
    let mut client = connect(proxy.address).await;
    read(&mut client, 1).await;
    let drained = proxy.drain();
    within(client.write_all(b"more")).await.expect("it reads");
    assert_eq!(read(&mut client, 4).await, b"more");
    let drained = within(drained).await.expect("no panic");
    assert_eq!(drained, Drained { cut_connections: 1 });
    assert_eq!(rest(&mut client).await, b"");
}

#[tokio::test]
async fn what_a_drain_cuts_looks_whole_to_neither_side() {
    let (sender, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let endpoint = Scripted::start(move |mut stream, _| {
        let sender = sender.clone();
        async move {
            let _ = stream.write_all(b"a").await;
            let _ = sender.send(stream.read_u8().await.map_err(|error| error.kind()));
        }
    })
    .await;
    let limits = Limits {
        drain_quiet: Duration::ZERO,
        drain_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let proxy =
        serve_with(limits, |port| tcp(port, to("app"), tcp_backend("app", &[endpoint.address])));
    let mut client = connect(proxy.address).await;
    read(&mut client, 1).await;
    within(proxy.drain()).await.expect("no panic");
    let reset = std::io::ErrorKind::ConnectionReset;
    let error = within(client.read_u8()).await.expect_err("nothing comes");
    assert_eq!(error.kind(), reset);
    assert_eq!(within(ended.recv()).await, Some(Err(reset)));
}

#[tokio::test]
async fn silence_both_ways_ends_a_connection() {
    let endpoint = greeting("a").await;
    let limits = Limits { stream_idle_timeout: Duration::from_millis(100), ..Limits::default() };
    let proxy =
        serve_with(limits, |port| tcp(port, to("app"), tcp_backend("app", &[endpoint.address])));
    let mut client = connect(proxy.address).await;
    assert_eq!(rest(&mut client).await, b"a");
}

/// Reads nothing and sends a byte again and again, until the connection breaks.
async fn trickle(mut stream: TcpStream) {
    while stream.write_all(b"x").await.is_ok() {
        tokio::task::yield_now().await;
    }
}

/// Reads all that comes and sends without end, until the connection breaks.
async fn pour(mut stream: TcpStream) {
    let (mut read, mut write) = stream.split();
    let mut sink = tokio::io::sink();
    let write = async { while write.write_all(&[b'x'; 64 * 1024]).await.is_ok() {} };
    let _ = tokio::join!(tokio::io::copy(&mut read, &mut sink), write);
}

/// However much it says itself.
#[tokio::test]
async fn a_side_that_takes_nothing_ends_a_connection() {
    let limits = Limits { stream_idle_timeout: Duration::from_millis(500), ..Limits::default() };
    for client_takes in [false, true] {
        let endpoint = Scripted::start(move |stream, _| async move {
            if client_takes { trickle(stream).await } else { pour(stream).await }
        })
        .await;
        let proxy = serve_with(limits.clone(), |port| {
            tcp(port, to("app"), tcp_backend("app", &[endpoint.address]))
        });
        let client = connect(proxy.address).await;
        within(async { if client_takes { pour(client).await } else { trickle(client).await } })
            .await;
    }
}

#[tokio::test]
async fn a_connection_that_the_endpoint_resets_is_reset_and_not_ended() {
    let endpoint = Scripted::start(|mut stream, _| async move {
        let _ = stream.read_u8().await;
        stream.set_zero_linger().expect("it is a socket");
    })
    .await;
    let proxy = serve(|port| tcp(port, to("app"), tcp_backend("app", &[endpoint.address])));
    let mut client = connect(proxy.address).await;
    within(client.write_all(b"x")).await.expect("it reads");
    let error = within(client.read_u8()).await.expect_err("nothing comes");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn connections_beyond_the_limit_of_an_endpoint_wait_and_are_closed() {
    let endpoint = greeting("a").await;
    let limits = Limits {
        max_connections_per_endpoint: 1,
        pending_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let proxy =
        serve_with(limits, |port| tcp(port, to("app"), tcp_backend("app", &[endpoint.address])));
    let mut first = connect(proxy.address).await;
    read(&mut first, 1).await;
    assert_eq!(rest(&mut connect(proxy.address).await).await, b"");
    drop(first);
    let mut served = Vec::new();
    // The place is free once the proxy has seen the end.
    while served.is_empty() {
        let mut next = connect(proxy.address).await;
        next.shutdown().await.expect("it is open");
        served = rest(&mut next).await;
    }
    assert_eq!(served, b"a");
}
