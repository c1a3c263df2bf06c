//! Why a client's connection broke, in one of a few words: what the parsers refuse never becomes a
//! request, so this is all that is known of it.

use std::error::Error;
use std::io;

use h2::Reason;

/// The word for the metrics; none where the client only went away, or came with no other request.
pub(super) fn reason(error: &hyper::Error, head_begun: bool) -> Option<&'static str> {
    if error.is_parse_too_large() {
        return Some("head_too_large");
    }
    if error.is_parse() {
        return Some("malformed");
    }
    if error.is_timeout() {
        return head_begun.then_some("head_timeout");
    }
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            if let Some(io) = error.get_io() {
                return io_reason(io);
            }
            // What the client itself says when it goes is no failure.
            return error.reason().filter(|_| !error.is_remote()).and_then(http2_reason);
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io_reason(io);
        }
        source = error.source();
    }
    None
}

fn io_reason(error: &io::Error) -> Option<&'static str> {
    (error.kind() == io::ErrorKind::TimedOut).then_some("stalled")
}

fn http2_reason(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::NO_ERROR | Reason::CANCEL => return None,
        Reason::ENHANCE_YOUR_CALM => "flood",
        Reason::FLOW_CONTROL_ERROR => "flow_control",
        Reason::FRAME_SIZE_ERROR => "frame_size",
        Reason::COMPRESSION_ERROR => "compression",
        _ => "malformed",
    })
}
