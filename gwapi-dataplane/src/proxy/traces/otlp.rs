//! The few messages of OTLP that are sent, written out as they go: fields by number, nothing in between.
//!
//! A span is encoded where it ends, on its worker, and goes as bytes from then on.

/// Bytes of an attribute's value; what is longer is cut.
pub(super) const MAX_VALUE: usize = 2048;

/// A message that is being written.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn tag(&mut self, field: u32, wire_type: u64) {
        self.varint(u64::from(field) << 3 | wire_type);
    }

    /// A number, of the types that are written as varints. None of ours is negative.
    pub(super) fn number(&mut self, field: u32, value: u64) {
        self.tag(field, 0);
        self.varint(value);
    }

    pub(super) fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, 5);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.tag(field, 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub(super) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    /// A `KeyValue` with a text. What is no UTF-8 is replaced: strings of protobuf are nothing else.
    pub(super) fn text_attribute(&mut self, field: u32, key: &str, value: &[u8]) {
        let value = &value[..value.len().min(MAX_VALUE)];
        let text = String::from_utf8_lossy(value);
        self.message(field, |pair| {
            pair.bytes(1, key.as_bytes());
            pair.message(2, |any| any.bytes(1, text.as_bytes()));
        });
    }

    /// A `KeyValue` with a whole number.
    pub(super) fn number_attribute(&mut self, field: u32, key: &str, value: u64) {
        self.message(field, |pair| {
            pair.bytes(1, key.as_bytes());
            pair.message(2, |any| any.number(3, value));
        });
    }
}

/// An `ExportTraceServiceRequest` of these spans, framed for gRPC: not compressed, and its length.
pub(super) fn export_request(service_name: &str, spans: &[Vec<u8>]) -> Vec<u8> {
    let mut scope_spans = Message::default();
    scope_spans.message(1, |scope| {
        scope.bytes(1, b"gwapi");
        scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
    });
    for span in spans {
        scope_spans.bytes(2, span);
    }
    let mut resource_spans = Message::default();
    resource_spans
        .message(1, |resource| resource.text_attribute(1, "service.name", service_name.as_bytes()));
    resource_spans.bytes(2, &scope_spans.0);
    let mut request = Message(vec![0; 5]);
    request.bytes(1, &resource_spans.0);
    let length = u32::try_from(request.len() - 5).expect("batches are bounded to megabytes");
    request.0[1..5].copy_from_slice(&length.to_be_bytes());
    request.0
}

/// How many spans an `ExportTraceServiceResponse` says were refused; `None` where it cannot be read.
pub(super) fn rejected_spans(response: &[u8]) -> Option<u64> {
    let mut rejected = 0;
    for field in fields(response) {
        if let (1, Value::Bytes(partial_success)) = field? {
            for field in fields(partial_success) {
                if let (1, Value::Number(count)) = field? {
                    rejected = count;
                }
            }
        }
    }
    Some(rejected)
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

/// The fields of a message in their order; `None` and the end where one cannot be read.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = Option<(u64, Value<'_>)>> {
    let mut next = move || {
        let tag = read_varint(&mut rest)?;
        let value = match tag & 7 {
            0 => Value::Number(read_varint(&mut rest)?),
            1 => take(&mut rest, 8).map(|_| Value::Other)?,
            2 => {
                let length = usize::try_from(read_varint(&mut rest)?).ok()?;
                Value::Bytes(take(&mut rest, length)?)
            }
            5 => take(&mut rest, 4).map(|_| Value::Other)?,
            _ => return None,
        };
        Some(((tag >> 3, value), rest.is_empty()))
    };
    let mut is_over = rest.is_empty();
    std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let found = next();
        is_over = found.as_ref().is_none_or(|(_, is_last)| *is_last);
        Some(found.map(|(field, _)| field))
    })
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(rest, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_the_protocol() {
        let mut message = Message::default();
        message.number(1, 300);
        message.fixed32(16, 1);
        message.text_attribute(9, "k", "v\u{e9}".as_bytes());
        let expected = [
            &[0x08, 0xac, 0x02][..],
            &[0x85, 0x01, 1, 0, 0, 0],
            &[0x4a, 10, 0x0a, 1, b'k', 0x12, 5, 0x0a, 3, b'v', 0xc3, 0xa9],
        ];
        assert_eq!(message.into_bytes(), expected.concat());
    }

    #[test]
    fn a_text_that_is_none_or_too_long_is_made_one() {
        let mut message = Message::default();
        message.text_attribute(1, "k", b"a\xff");
        assert!(String::from_utf8_lossy(&message.0).ends_with("a\u{fffd}"));
        let mut message = Message::default();
        message.text_attribute(1, "k", &[b'a'; 2 * MAX_VALUE]);
        assert!(message.len() < MAX_VALUE + 20);
    }

    #[test]
    fn a_response_says_how_many_were_refused() {
        assert_eq!(rejected_spans(b""), Some(0));
        assert_eq!(rejected_spans(&[0x0a, 5, 0x08, 7, 0x12, 1, b'x']), Some(7));
        assert_eq!(rejected_spans(&[0x0a, 9, 0x08]), None);
        assert_eq!(rejected_spans(&[0xff]), None);
    }
}
