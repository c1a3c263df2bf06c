//! HTTP/2 used to make a gateway work or wait: each flood is ended, and others are served meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gwapi_dataplane::{Limits, ProxyBuilder};
use http::StatusCode;
use tokio::io::AsyncWriteExt;

use crate::support::frames::*;
use crate::support::upstream::read_head;
use crate::support::*;

const OPEN_POST: u8 = END_HEADERS;

/// Floods a proxy on a connection that has sent `first`, while somebody else is served; the code
/// that ends it, and how many pieces were sent.
async fn flood(
    first: &[u8],
    pieces: usize,
    piece: impl Fn(usize) -> Vec<u8>,
) -> (Option<u32>, usize) {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let mut client = RawHttp2::connect(proxy.address).await;
    client.send(first).await;
    let mut good = proxy.client().await;
    let served = async {
        loop {
            assert_eq!(good.get("a", "/").await.endpoint(), "a");
        }
    };
    let ended = tokio::select! {
        () = served => unreachable!("it goes on until the flood is over"),
        ended = client.flood(pieces, piece) => ended,
    };
    assert_eq!(proxy.get("a", "/").await.endpoint(), "a");
    ended
}

fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, OPEN_POST, stream, &request("POST"))
}

/// The number of a stream that a client may open.
fn stream(number: usize) -> u32 {
    number as u32 * 2 + 1
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    let whole = |number| get(stream(number));
    // A second block in the stream, which is not another request.
    let with_trailers = |number| {
        let trailers = block(&[("x", "y")]);
        let trailers = frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &trailers);
        [post(stream(number)), trailers].concat()
    };
    let requests: [&dyn Fn(usize) -> Vec<u8>; 2] = [&whole, &with_trailers];
    for request in requests {
        let taken_back = |number| {
            let cancel = frame(RST_STREAM, 0, stream(number), &8_u32.to_be_bytes());
            [request(number), cancel].concat()
        };
        // Many at once: they are counted over seconds, of which a loaded machine has few for each client.
        // And no more than come before what was counted is forgotten.
        let (code, _) =
            flood(b"", 50, |piece| (piece * 100..(piece + 1) * 100).flat_map(taken_back).collect())
                .await;
        assert_eq!(code, Some(ENHANCE_YOUR_CALM));
    }
}

#[tokio::test]
async fn continuations_without_an_end_end_the_connection() {
    let begun = frame(HEADERS, END_STREAM, 1, &request("GET"));
    for payload in [0, 16_384] {
        // Fields that are never complete: the block could go on for ever.
        let payload = vec![0; payload];
        let (code, _) = flood(&begun, 20_000, |_| frame(CONTINUATION, 0, 1, &payload)).await;
        assert!(code.is_some_and(|code| code != 0), "{} bytes each: {code:?}", payload.len());
    }
}

#[tokio::test]
async fn a_client_that_makes_the_proxy_reset_its_streams_loses_the_connection() {
    // What a connection stands: nothing of what is an error of the connection; the number of streams that the
    // HTTP/2 library resets.
    const AT_ONCE: usize = 0;
    const RESETS: usize = 1024;
    let update = |stream: u32, by: u32| frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    let bad =
        block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), ("connection", "x")]);
    let with = |name: &'static str, value: &'static str| {
        let fields = [request("GET"), block(&[(name, value)])].concat();
        move |n| frame(HEADERS, END_HEADERS | END_STREAM, stream(n), &fields)
    };
    type Piece = Box<dyn Fn(usize) -> Vec<u8>>;
    let cases: [(&str, Piece, usize); 8] = [
        (
            "a window that grows by nothing",
            Box::new(move |n| [post(stream(n)), update(stream(n), 0)].concat()),
            AT_ONCE,
        ),
        (
            "data after the end",
            Box::new(|n| [get(stream(n)), frame(DATA, 0, stream(n), b"x")].concat()),
            AT_ONCE,
        ),
        (
            "a window beyond its limit",
            Box::new(move |n| [post(stream(n)), update(stream(n), 0x7fff_ffff)].concat()),
            RESETS,
        ),
        (
            "a body of another length",
            Box::new(|n| {
                let fields = [
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":authority", "a"),
                    (":path", "/"),
                    ("content-length", "5"),
                ];
                let head = frame(HEADERS, END_HEADERS, stream(n), &block(&fields));
                [head, frame(DATA, END_STREAM, stream(n), b"x")].concat()
            }),
            RESETS,
        ),
        (
            "a priority that depends on itself",
            Box::new(|n| {
                let mut payload = stream(n).to_be_bytes().to_vec();
                payload.push(0);
                [post(stream(n)), frame(PRIORITY, 0, stream(n), &payload)].concat()
            }),
            RESETS,
        ),
        (
            "malformed fields",
            Box::new(move |n| frame(HEADERS, END_HEADERS | END_STREAM, stream(n), &bad)),
            RESETS,
        ),
        ("white space before a value", Box::new(with("x", " y")), RESETS),
        ("a host that is not the authority", Box::new(with("host", "b")), RESETS),
    ];
    for (name, piece, most) in cases {
        let (code, sent) = pieces_until_goaway(piece).await;
        assert!(code.is_some_and(|code| code != 0), "{name}: {code:?}");
        assert!(sent <= most + FEW, "{name}: the connection goes on for {sent} streams");
        assert!(sent > most, "{name}: the connection ends after {sent} streams");
    }
}

/// Streams of which each piece of a flood is one, and that are sent before it is looked whether it goes on.
const FEW: usize = 16;

/// Sends pieces, a few at a time, each of them read before there are more; the code of the GOAWAY that ends
/// the connection, and how many were sent until then.
async fn pieces_until_goaway(piece: impl Fn(usize) -> Vec<u8>) -> (Option<u32>, usize) {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let mut client = RawHttp2::connect(proxy.address).await;
    let mut sent = 0;
    loop {
        let pieces = (sent..sent + FEW).flat_map(&piece);
        let read = frame(PING, 0, 0, &(sent as u64).to_be_bytes());
        client.send(&pieces.chain(read).collect::<Vec<u8>>()).await;
        sent += FEW;
        let ended = |seen: &Seen| seen.kind == GOAWAY || (seen.kind == PING && seen.flags == ACK);
        match client.find(ended).await {
            Some(seen) if seen.kind == PING => {}
            Some(seen) => {
                assert_eq!(proxy.get("a", "/").await.endpoint(), "a");
                return (seen.error(), sent);
            }
            None => return (None, sent),
        }
        assert!(sent < 50_000, "it goes on");
    }
}

#[tokio::test]
async fn data_without_content_ends_the_connection() {
    for payload in [&b""[..], b"x"] {
        let (code, _) = flood(&post(1), 200_000, |_| frame(DATA, 0, 1, payload)).await;
        assert!(code.is_some_and(|code| code != 0), "{} bytes each: {code:?}", payload.len());
    }
}

#[tokio::test]
async fn frames_that_only_make_work_end_the_connection() {
    let setting = [0, 4, 0, 1, 0, 0]; // INITIAL_WINDOW_SIZE
    let one = 1_u32.to_be_bytes();
    for (name, piece, most) in [
        ("SETTINGS", frame(SETTINGS, 0, 0, &setting), 50_000),
        ("empty SETTINGS", frame(SETTINGS, 0, 0, &[]), 50_000),
        ("acknowledged SETTINGS", frame(SETTINGS, ACK, 0, &[]), 50_000),
        ("PING", frame(PING, 0, 0, &[0; 8]), 50_000),
        ("answers to PING", frame(PING, ACK, 0, &[0; 8]), 50_000),
        ("PRIORITY", frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 0]), 50_000),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &one), 200_000),
        ("frames that nobody knows", frame(0xee, 0, 0, &[]), 50_000),
    ] {
        let (code, sent) = flood(b"", most, |_| piece.clone()).await;
        assert!(code.is_some_and(|code| code != 0), "{name}: {code:?} after {sent}");
    }
}

#[tokio::test]
async fn pings_now_and_then_are_answered() {
    let echo = Echo::start("a").await;
    // No request comes, however long the machine takes for all of them.
    let limits = Limits { first_byte_timeout: Duration::from_secs(3600), ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, echo.address));
    let mut client = RawHttp2::connect(proxy.address).await;
    for number in 0..500_u64 {
        client.send(&frame(PING, 0, 0, &number.to_be_bytes())).await;
        let pong = loop {
            let seen = client.find(|seen| seen.kind == PING).await.expect("an answer");
            if seen.flags & ACK != 0 {
                break seen;
            }
            // The proxy asks as well, where that takes long.
            client.send(&frame(PING, ACK, 0, &seen.payload)).await;
        };
        assert_eq!((pong.flags, pong.payload), (ACK, number.to_be_bytes().to_vec()));
    }
}

/// A head with `count` fields of a byte each, all of them out of the table.
fn bomb(value: &[u8], count: usize) -> (Vec<u8>, Vec<u8>) {
    let first = [request("GET"), indexed("x", value)].concat();
    let rest = [request("GET"), vec![0x80 | 62; count]].concat();
    (first, rest)
}

#[tokio::test]
async fn fields_that_unpack_to_megabytes_end_the_connection() {
    let (first, rest) = bomb(&[b'x'; 4000], 1000);
    let first = frame(HEADERS, END_HEADERS | END_STREAM, 1, &first);
    let (code, _) = flood(&first, 1, |_| frame(HEADERS, END_HEADERS | END_STREAM, 3, &rest)).await;
    assert_eq!(code, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn many_fields_are_refused_and_their_stream_is_over_even_if_the_client_leaves_it_open() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let mut client = RawHttp2::connect(proxy.address).await;
    let crumbs = [request("GET"), indexed("cookie", b"a")].concat();
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &crumbs)).await;
    client.find(|seen| seen.stream == 1 && seen.flags & END_STREAM != 0).await.expect("an answer");
    let rest = [request("POST"), vec![0x80 | 62; 485]].concat();
    // More of them than streams at a time: an answered one is over.
    for number in 1..300 {
        client.send(&frame(HEADERS, OPEN_POST, stream(number), &rest)).await;
        let answer = client.find(|seen| seen.stream == stream(number)).await.expect("an answer");
        assert_eq!(answer.kind, HEADERS, "{answer:?}");
        let over =
            client.find(|seen| seen.stream == stream(number) && seen.kind == RST_STREAM).await;
        assert_eq!(over.expect("it is over").error(), Some(0));
    }
    assert_eq!(echo.requests().len(), 1);
    client.send(&get(stream(400))).await;
    let answer = client.find(|seen| seen.stream == stream(400)).await.expect("an answer");
    assert_eq!(answer.payload[0], 0x88, "200: the connection goes on");
}

#[tokio::test]
async fn heads_that_wait_share_what_a_connection_may_hold() {
    const REFUSED_STREAM: u32 = 7;
    let echo = Echo::start("a").await;
    let proxy = serve_with_metrics(|port| simple(port, echo.address));
    let mut client = RawHttp2::connect(proxy.address).await;
    let first = [request("GET"), indexed("x", &[b'x'; 4000])].concat();
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &first)).await;
    client.find(|seen| seen.stream == 1).await.expect("an answer");
    // 60 KB each, of 512 KiB.
    let big = [request("POST"), vec![0x80 | 62; 15]].concat();
    for number in 1..=20 {
        client.send(&frame(HEADERS, OPEN_POST, stream(number), &big)).await;
    }
    for number in 9..=20 {
        let refused = client.find(|seen| seen.stream != 0).await.expect("an answer");
        assert_eq!((refused.stream, refused.error()), (stream(number), Some(REFUSED_STREAM)));
    }
    // One that is answered makes room for another.
    client.send(&frame(DATA, END_STREAM, stream(1), b"")).await;
    client.find(|seen| seen.stream == stream(1) && seen.kind == HEADERS).await.expect("an answer");
    let whole = frame(HEADERS, END_HEADERS | END_STREAM, stream(21), &big);
    client.send(&whole).await;
    let answer = client.find(|seen| seen.stream == stream(21)).await.expect("an answer");
    assert_eq!((answer.kind, answer.payload[0]), (HEADERS, 0x88), "200");
    let labels = r#"gateway="default/web",reason="refused_stream""#;
    proxy.until_metric(&format!("gwapi_http_rejected_requests_total{{{labels}}} 12")).await;
}

/// The proxy has no room for them, and the client nothing to answer for.
#[tokio::test]
async fn heads_for_which_there_is_no_room_end_the_connection_gently() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let mut client = RawHttp2::connect(proxy.address).await;
    let head = |number| {
        let more = if number == 0 { indexed("x", &[b'x'; 4000]) } else { vec![NEWEST; 15] };
        frame(HEADERS, OPEN_POST, stream(number), &[request("POST"), more].concat())
    };
    // More than are to be refused in two of the times over which they are counted.
    for first in (0..1600).step_by(100) {
        client.send(&(first..first + 100).flat_map(head).collect::<Vec<_>>()).await;
    }
    let goaway = client.find(|seen| seen.kind == GOAWAY).await.expect("it is told to go");
    assert_eq!(goaway.error(), Some(0), "{goaway:?}");
    for number in 0..=8 {
        client.send(&frame(DATA, END_STREAM, stream(number), b"")).await;
        let of_it = |seen: &Seen| seen.stream == stream(number);
        let answer = client.find(of_it).await.expect("what is under way goes on");
        assert_eq!((answer.kind, answer.payload[0]), (HEADERS, 0x88), "200");
        let end = |seen: &Seen| of_it(seen) && seen.flags & END_STREAM != 0;
        if !end(&answer) {
            client.find(end).await.expect("all of the answer");
        }
    }
}

/// Trailers of so many fields, each a byte.
fn trailers(stream: u32, field: u8, fields: usize) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &vec![field; fields])
}

/// `accept-encoding: gzip, deflate`, out of the table of HPACK.
const STATIC: u8 = 0x90;
/// The field that went into the table last.
const NEWEST: u8 = 0x80 | 62;

/// 431, as a literal with the name of `:status` in Huffman code.
fn is_431(seen: &Seen) -> bool {
    seen.kind == HEADERS && seen.payload.get(1..5) == Some(&[0x83, 0x69, 0x90, 0xff])
}

/// Nobody reads them: the HTTP/2 library would keep them, at a hundred times what they are on the wire.
#[tokio::test]
async fn trailers_of_many_fields_end_the_connection() {
    let (code, _) = flood(&post(1), 1, |_| trailers(1, STATIC, 33)).await;
    assert_eq!(code, Some(ENHANCE_YOUR_CALM));
}

/// The HTTP/2 library drops what is beyond 64 KiB, and says nothing of it.
#[tokio::test]
async fn trailers_that_may_unpack_to_more_than_the_library_keeps_end_the_connection() {
    let long = block(&[("a", "1"), ("b", &"x".repeat(66_000))]);
    let mut frames = long.chunks(16_000);
    let first = frame(HEADERS, END_STREAM, 1, frames.next().expect("it is long"));
    let rest = frames.flat_map(|piece| frame(CONTINUATION, 0, 1, piece)).collect::<Vec<_>>();
    let last = frame(CONTINUATION, END_HEADERS, 1, &block(&[("c", "3")]));
    let written_out = [post(1), first, rest, last].concat();
    let large = [request("POST"), indexed("x", &[b'x'; 4000])].concat();
    let large = frame(HEADERS, OPEN_POST, 1, &large);
    let out_of_the_table = [large, trailers(1, NEWEST, 13)].concat();
    for (name, bytes) in [("written out", written_out), ("of the table", out_of_the_table)] {
        let echo = Echo::start("a").await;
        let proxy = serve(|port| simple(port, echo.address));
        let mut client = RawHttp2::connect(proxy.address).await;
        client.send(&bytes).await;
        let ended = client.find(|seen| seen.stream == 1 || seen.kind == GOAWAY).await;
        let ended = ended.expect("an answer");
        let is_ended = ended.kind == GOAWAY && ended.error() != Some(0);
        assert!(is_ended, "{name}: {ended:?}");
        assert!(echo.requests().iter().all(|seen| seen.trailers.is_none()), "{name}");
    }
}

/// Where a head is no more than a frame, the HTTP/2 library has all that it keeps of them in one.
#[tokio::test]
async fn trailers_that_are_cut_in_their_only_frame_end_no_request() {
    let long = block(&[("a", "1"), ("b", &"x".repeat(5000))]);
    let long = frame(HEADERS, END_HEADERS | END_STREAM, 1, &long);
    let echo = Echo::start("a").await;
    let limits = Limits { max_head_bytes: 4096, max_uri_bytes: 1024, ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, echo.address));
    let mut client = RawHttp2::connect(proxy.address).await;
    client.send(&[post(1), long].concat()).await;
    let goaway = client.find(|seen| seen.kind == GOAWAY).await.expect("it ends");
    assert_ne!(goaway.error(), Some(0));
    while client.find(|_| true).await.is_some() {}
    assert!(echo.requests().iter().all(|seen| seen.trailers.is_none()));
}

/// The letters that Huffman code takes most bits for: 28 each.
#[tokio::test]
async fn trailers_of_8_kib_pass_whatever_their_text_is() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let mut client = RawHttp2::connect(proxy.address).await;
    // Two of them, and a last one that is padded.
    let two = [0xff, 0xff, 0xff, 0xef, 0xff, 0xff, 0xfe];
    let text = [&two.repeat(127)[..], &[0xff, 0xff, 0xff, 0xef]].concat();
    let length = text.len() - 0x7f;
    let length = [0xff, (length as u8 & 0x7f) | 0x80, (length >> 7) as u8];
    let fields = [&[0x00, 1, b'x'][..], &length, &text].concat().repeat(32);
    let (first, rest) = fields.split_at(16_000);
    let first = frame(HEADERS, END_STREAM, 1, first);
    let rest = frame(CONTINUATION, END_HEADERS, 1, rest);
    client.send(&[post(1), first, rest].concat()).await;
    let answer = client.find(|seen| seen.stream == 1 || seen.kind == GOAWAY).await;
    let answer = answer.expect("an answer");
    assert_eq!((answer.kind, answer.payload[0]), (HEADERS, 0x88), "200");
    let seen = echo.requests().pop().expect("a request").trailers.expect("trailers");
    let lengths = seen.values().map(|value| value.len()).collect::<Vec<_>>();
    assert_eq!(lengths, [255; 32]);
}

/// The HTTP/2 library leaves their block unread, and what is in HPACK's table is known no more.
#[tokio::test]
async fn headers_that_depend_on_their_own_stream_end_the_connection() {
    const PRIORITY: u8 = 0x20;
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let mut client = RawHttp2::connect(proxy.address).await;
    let head = [&[0, 0, 0, 1, 16][..], &request("GET")].concat();
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM | PRIORITY, 1, &head)).await;
    let goaway = client.find(|seen| seen.kind == GOAWAY).await.expect("it ends");
    assert_eq!(goaway.error(), Some(PROTOCOL_ERROR));
    assert!(echo.requests().is_empty());
}

/// As clients write them: the name once, and then by its place in the table. On the next streams it is there already.
#[tokio::test]
async fn trailers_of_one_name_pass_as_any_others() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let mut client = RawHttp2::connect(proxy.address).await;
    let first = indexed("x-a", b"1");
    let named = [0x0f, 62 - 15, 1, b'2'];
    for (stream, fields) in [(1, [&first[..], &named.repeat(31)].concat()), (3, named.repeat(32))] {
        let trailers = frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields);
        client.send(&[post(stream), trailers].concat()).await;
        let answer = client.find(|seen| seen.stream == stream).await.expect("an answer");
        assert_eq!((answer.kind, answer.payload[0]), (HEADERS, 0x88), "200");
        let seen = echo.requests().pop().expect("a request").trailers.expect("trailers");
        assert_eq!(seen.len(), 32);
    }
}

#[tokio::test]
async fn trailers_that_unpack_to_much_are_refused_and_others_pass() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    let mut client = RawHttp2::connect(proxy.address).await;
    let large = [request("POST"), indexed("x", &[b'x'; 4000])].concat();
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &large)).await;
    client.find(|seen| seen.stream == 1).await.expect("an answer");
    client.send(&[post(3), trailers(3, NEWEST, 3)].concat()).await;
    let answer = client.find(|seen| seen.stream == 3).await.expect("an answer");
    assert!(is_431(&answer), "{answer:x?}");
    for (stream, fields) in [(5, vec![NEWEST; 2]), (7, vec![STATIC; 32])] {
        let trailers = frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields);
        client.send(&[post(stream), trailers].concat()).await;
        let answer = client.find(|seen| seen.stream == stream).await.expect("an answer");
        assert_eq!((answer.kind, answer.payload[0]), (HEADERS, 0x88), "200");
        let seen = echo.requests().pop().expect("a request").trailers.expect("trailers");
        assert_eq!(seen.len(), fields.len());
    }
}

/// Reads until so many streams are over, all of them by the text of 431; which they are.
async fn refused(client: &mut RawHttp2, count: usize) -> BTreeSet<u32> {
    let mut refused = BTreeSet::new();
    while refused.len() < count {
        let seen = client.find(|seen| seen.stream != 0).await.expect("it goes on");
        if seen.kind != HEADERS {
            assert_eq!(seen.payload, b"too many header fields\n", "{seen:?}");
        }
        if seen.flags & END_STREAM != 0 {
            refused.insert(seen.stream);
        }
    }
    refused
}

#[tokio::test]
async fn trailers_that_wait_share_what_a_connection_may_hold_with_heads() {
    let silent = Scripted::silent().await;
    let proxy = serve(|port| simple(port, silent.address));
    let mut client = RawHttp2::connect(proxy.address).await;
    let large = [request("POST"), indexed("x", &[b'x'; 4000])].concat();
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &large)).await;
    let with_trailers = |number| {
        let stream = stream(number);
        [post(stream), trailers(stream, NEWEST, 2)].concat()
    };
    // 8 KB each, of 512 KiB less a head of 4 KB.
    for number in 1..=70 {
        client.send(&with_trailers(number)).await;
    }
    let over = refused(&mut client, 8).await;
    // One that is taken back makes room for another, and not for two.
    let waits = (1..=70).map(stream).find(|stream| !over.contains(stream)).expect("one");
    client.send(&frame(RST_STREAM, 0, waits, &8_u32.to_be_bytes())).await;
    client.send(&[with_trailers(71), with_trailers(72)].concat()).await;
    let over = refused(&mut client, 1).await;
    assert!(over.is_subset(&[stream(71), stream(72)].into()), "{over:?}");
}

#[tokio::test]
async fn streams_whose_window_stays_closed_are_reset() {
    const STREAMS: usize = 150;
    let endpoint = Scripted::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let limits = Limits {
        write_stall_timeout: Duration::from_millis(300),
        max_concurrent_streams: STREAMS as u32,
        ..Limits::default()
    };
    let stalled_for = limits.write_stall_timeout;
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let closed = [0, 4, 0, 0, 0, 0]; // INITIAL_WINDOW_SIZE 0
    let mut client = RawHttp2::with_settings(proxy.address, &closed).await;
    let asked = Instant::now();
    client.send(&(0..STREAMS).flat_map(|number| get(stream(number))).collect::<Vec<u8>>()).await;
    let mut reset = BTreeSet::new();
    while reset.len() < STREAMS {
        let seen = client.find(|seen| seen.kind == RST_STREAM).await.expect("each is reset");
        // The time of each runs from its response, which comes after the requests.
        assert!(asked.elapsed() >= stalled_for, "{:?} after the requests", asked.elapsed());
        reset.insert(seen.stream);
    }
}

/// INITIAL_WINDOW_SIZE of one byte.
const BYTE: [u8; 6] = [0, 4, 0, 0, 0, 1];

#[tokio::test]
async fn streams_whose_window_is_a_byte_are_reset_though_all_of_the_response_is_one_piece() {
    let body = "x".repeat(8 * 1024);
    let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let endpoint = Scripted::answering(response.leak().as_bytes()).await;
    let limits = Limits { write_stall_timeout: Duration::from_millis(100), ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let mut client = RawHttp2::with_settings(proxy.address, &BYTE).await;
    for number in 0..50 {
        client.send(&get(stream(number))).await;
    }
    for _ in 0..50 {
        client.find(|seen| seen.kind == RST_STREAM).await.expect("a reset");
    }
}

#[tokio::test]
async fn streams_whose_window_is_closed_to_an_answer_of_the_proxy_are_reset() {
    let echo = Echo::start("a").await;
    let limits = Limits { write_stall_timeout: Duration::from_millis(100), ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, echo.address));
    for window in [[0, 4, 0, 0, 0, 0], BYTE] {
        let mut client = RawHttp2::with_settings(proxy.address, &window).await;
        let fields =
            [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/%zz")];
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields))).await;
        client.find(|seen| seen.kind == HEADERS).await.expect("an answer");
        client.find(|seen| seen.kind == RST_STREAM).await.expect("a reset");
    }
}

/// A chunked response in two pieces, the second of which is its end, with trailers or without.
fn chunked(body: &str, trailers: &str) -> [String; 2] {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let length = body.len();
    [format!("{head}{length:x}\r\n{body}\r\n"), format!("0\r\n{trailers}\r\n")]
}

#[tokio::test]
async fn streams_whose_window_is_a_byte_are_reset_though_trailers_or_the_end_follow_by_themselves()
{
    let body = "x".repeat(8 * 1024);
    for trailers in ["", "x-sum: 1\r\n"] {
        for at_once in [true, false] {
            let [piece, end] = chunked(&body, trailers);
            let endpoint = Scripted::start(move |mut stream, _| {
                let (piece, end) = (piece.clone(), end.clone());
                async move {
                    while !read_head(&mut stream).await.is_empty() {
                        let first = if at_once { piece.clone() + &end } else { piece.clone() };
                        let _ = stream.write_all(first.as_bytes()).await;
                        if !at_once {
                            let _ = stream.write_all(end.as_bytes()).await;
                        }
                    }
                }
            })
            .await;
            let limits =
                Limits { write_stall_timeout: Duration::from_millis(100), ..Limits::default() };
            let proxy = serve_with(limits, |port| simple(port, endpoint.address));
            let mut client = RawHttp2::with_settings(proxy.address, &BYTE).await;
            let requests: Vec<u8> = (0..20).flat_map(|number| get(stream(number))).collect();
            client.send(&requests).await;
            for _ in 0..20 {
                client.find(|seen| seen.kind == RST_STREAM).await.expect("a reset");
            }
        }
    }
}

/// The data of a stream, to its end.
async fn data_of(client: &mut RawHttp2, stream: u32) -> Vec<u8> {
    let mut data = Vec::new();
    loop {
        let seen = client.find(|seen| seen.stream == stream && seen.kind != HEADERS).await;
        let seen = seen.expect("it goes on");
        assert_eq!(seen.kind, DATA, "{seen:?}");
        data.extend(seen.payload);
        if seen.flags & END_STREAM != 0 {
            return data;
        }
    }
}

#[tokio::test]
async fn a_window_that_opens_late_and_little_by_little_gets_the_whole_response() {
    let body = "0123456789abcdef".repeat(512);
    let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let endpoint = Scripted::answering(response.leak().as_bytes()).await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let mut client = RawHttp2::with_settings(proxy.address, &BYTE).await;
    client.send(&get(1)).await;
    client.find(|seen| seen.kind == DATA).await.expect("its first byte");
    for _ in 0..8 {
        client.send(&frame(WINDOW_UPDATE, 0, 1, &1_023_u32.to_be_bytes())).await;
    }
    client.send(&frame(WINDOW_UPDATE, 0, 1, &7_u32.to_be_bytes())).await;
    assert_eq!(data_of(&mut client, 1).await, body.as_bytes()[1..]);
}

/// An endpoint that answers with so many bytes, and how many times it has.
async fn answering(bytes: usize) -> (Scripted, Arc<AtomicUsize>) {
    let answered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answered);
    let endpoint = Scripted::start(move |mut stream, _| {
        let count = Arc::clone(&count);
        async move {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
            let answer = [head.into_bytes(), vec![b'x'; bytes]].concat();
            while !read_head(&mut stream).await.is_empty() {
                if stream.write_all(&answer).await.is_err() {
                    return;
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await;
    (endpoint, answered)
}

/// The last piece of a response is not watched where the windows had room for it: they may not be closed
/// before it is out.
#[tokio::test]
async fn windows_that_are_closed_under_responses_hold_none_of_them_for_ever() {
    const STREAMS: usize = 99;
    let (endpoint, answered) = answering(60_000).await;
    let limits = Limits { write_stall_timeout: Duration::from_secs(10), ..Limits::default() };
    let (builder, local) = (ProxyBuilder::new().limits(limits), "127.0.0.1".parse().expect("one"));
    let proxy = serve_on_cores(1, local, &builder, |port| simple(port, endpoint.address));
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(64 * 1024).expect("small");
    let mut client = RawHttp2(socket.connect(proxy.address).await.expect("it accepts"));
    let wide = frame(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes());
    client.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &wide].concat()).await;
    for number in 0..STREAMS {
        client.send(&get(stream(number))).await;
    }
    // It reads nothing until all responses are at the proxy.
    within(async {
        while answered.load(Ordering::Relaxed) < STREAMS {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..10 {
        assert_eq!(proxy.get("a", "/%zz").await.status, StatusCode::BAD_REQUEST);
    }
    let closed = [0, 4, 0, 0, 0, 0]; // INITIAL_WINDOW_SIZE 0
    client.send(&frame(SETTINGS, 0, 0, &closed)).await;
    let (mut whole, mut over) = (0, 0);
    while over < STREAMS {
        let seen = client.next().await.expect("it goes on");
        whole += usize::from(seen.kind == DATA && seen.flags & END_STREAM != 0);
        over += usize::from(seen.kind == RST_STREAM || seen.flags & END_STREAM != 0)
            * usize::from(seen.stream != 0);
    }
    assert!(whole > STREAMS / 2, "{whole} of {STREAMS} are whole");
}

/// Where they cannot go out because others are before them, the connection does not hold them for ever.
#[tokio::test]
async fn a_client_that_closes_its_windows_under_responses_and_reads_nothing_is_let_go() {
    let (endpoint, answered) = answering(60_000).await;
    let limits = Limits { write_stall_timeout: Duration::from_millis(500), ..Limits::default() };
    let proxy = serve_with(limits, |port| simple(port, endpoint.address));
    let mut client = RawHttp2::connect(proxy.address).await;
    client.send(&frame(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes())).await;
    for number in 0..99 {
        client.send(&get(stream(number))).await;
    }
    within(async {
        while answered.load(Ordering::Relaxed) < 50 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    client.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await;
    // All of its streams end, or the connection does.
    let mut over = 0;
    while over < 99 {
        let Some(seen) = client.next().await else { return };
        let ends = seen.kind == RST_STREAM || seen.flags & END_STREAM != 0;
        over += usize::from(ends && seen.stream != 0);
    }
}

/// Nor does what waits for them to go out hide that the client takes nothing, or that it has gone.
#[tokio::test]
async fn a_client_that_closes_its_windows_and_takes_nothing_is_let_go_though_its_frames_wait() {
    let (endpoint, answered) = answering(10_000).await;
    let local = std::net::IpAddr::from([127, 0, 0, 1]);
    let limits = Limits {
        write_stall_timeout: Duration::from_millis(500),
        // Those whose responses all found room in sockets.
        idle_timeout: Duration::from_secs(1),
        http2_ping_interval: Duration::from_secs(3600),
        ..Limits::default()
    };
    let builder = ProxyBuilder::new().limits(limits).admin((local, 0).into());
    let proxy = serve_on_cores(1, local, &builder, |port| simple(port, endpoint.address));
    let wide = frame(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes());
    let mut clients = Vec::new();
    for requests in 7..=20 {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("small");
        let mut client = RawHttp2(socket.connect(proxy.address).await.expect("it accepts"));
        client.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &wide].concat()).await;
        for number in 0..requests {
            client.send(&get(stream(number))).await;
        }
        clients.push(client);
    }
    // All that the sockets have room for is in them before the windows are closed.
    within(async {
        while answered.load(Ordering::Relaxed) < (7..=20).sum() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..10 {
        assert_eq!(proxy.get("a", "/%zz").await.status, StatusCode::BAD_REQUEST);
    }
    let of = r#"gateway="default/web",listener="web""#;
    for client in &mut clients {
        client.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await;
    }
    proxy.until_metric(&format!("gwapi_connections_active{{{of}}} 0")).await;
}

#[tokio::test]
async fn trailers_follow_once_a_window_that_opens_late_had_room_for_all_before_them() {
    let body = "0123456789abcdef".repeat(512);
    let response = chunked(&body, "x-sum: 1\r\n").concat();
    let endpoint = Scripted::answering(response.leak().as_bytes()).await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let mut client = RawHttp2::with_settings(proxy.address, &BYTE).await;
    client.send(&get(1)).await;
    let mut left =
        body.len() - client.find(|seen| seen.kind == DATA).await.expect("a byte").payload.len();
    assert_eq!(left, body.len() - 1);
    // Exactly what is missing, and no byte more.
    client.send(&frame(WINDOW_UPDATE, 0, 1, &(left as u32).to_be_bytes())).await;
    while left > 0 {
        let seen = client.find(|seen| seen.stream == 1).await.expect("it goes on");
        assert_eq!((seen.kind, seen.flags), (DATA, 0));
        left -= seen.payload.len();
    }
    let trailers = client.find(|seen| seen.stream == 1).await.expect("it goes on");
    assert_eq!((trailers.kind, trailers.flags), (HEADERS, END_HEADERS | END_STREAM));
}

#[tokio::test]
async fn fields_beyond_a_head_are_refused_and_far_beyond_it_end_the_connection() {
    let echo = Echo::start("a").await;
    let proxy = serve(|port| simple(port, echo.address));
    for (length, expected) in [(66_000, Ok(())), (100_000, Ok(())), (300_000, Err(()))] {
        let fields = [request("GET"), block(&[("x", &*"x".repeat(length))])].concat();
        let mut client = RawHttp2::connect(proxy.address).await;
        let mut pieces = fields.chunks(16_000).enumerate().peekable();
        while let Some((number, piece)) = pieces.next() {
            let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
            let (kind, flags) =
                if number == 0 { (HEADERS, END_STREAM | end) } else { (CONTINUATION, end) };
            client.send(&frame(kind, flags, 1, piece)).await;
        }
        let answer = client.find(|seen| seen.kind == GOAWAY || seen.stream == 1).await;
        let answer = answer.expect("an answer");
        match expected {
            Ok(()) => {
                // A literal with the name of `:status`, and 431 in Huffman code.
                assert_eq!(answer.kind, HEADERS, "{length}: {answer:?}");
                assert_eq!(answer.payload[1..5], [0x83, 0x69, 0x90, 0xff], "{length}: {answer:x?}");
                client.send(&get(3)).await;
                let answer = client.find(|seen| seen.stream == 3).await.expect("an answer");
                assert_eq!(answer.payload[0], 0x88, "200: the connection goes on");
            }
            Err(()) => assert_eq!(answer.error(), Some(ENHANCE_YOUR_CALM), "{length}"),
        }
    }
    assert_eq!(echo.requests().len(), 2);
}

#[tokio::test]
async fn a_client_with_usual_windows_gets_a_response_of_one_piece_in_one_frame() {
    let endpoint = Scripted::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let proxy = serve(|port| simple(port, endpoint.address));
    let mut client = RawHttp2::connect(proxy.address).await;
    for number in 0..3 {
        client.send(&get(stream(number))).await;
        let seen = client.find(|seen| seen.kind == DATA).await.expect("its body");
        assert_eq!((&*seen.payload, seen.flags), (&b"hello"[..], END_STREAM));
    }
}
