//! The table at start.

use comfy_table::{Cell, Color, ContentArrangement, Table};

use crate::paint::Paint;
use crate::report::some_of;
use crate::report::view::View;

/// Rows shown; what is more is counted.
const MAX_ROWS: usize = 60;

/// Hostnames shown per listener.
const MAX_HOSTNAMES: usize = 3;

/// Gateway, listener, address, hostnames, routes: a row per listener.
pub(crate) fn gateways(view: &View, paint: Paint) -> String {
    let mut table = plain(["GATEWAY", "LISTENER", "ADDRESS", "HOSTNAMES", "ROUTES"], paint);
    let mut last = None;
    for (gateway, listener) in view.listeners().take(MAX_ROWS) {
        let name = format!("{}/{}", gateway.namespace, gateway.name);
        let shown = if last.as_ref() == Some(&name) { String::new() } else { name.clone() };
        last = Some(name);
        let address = match (listener.urls.first(), &listener.reason) {
            (Some(url), None) => coloured(Cell::new(url), Color::Green, paint),
            // Say one of two addresses is taken.
            (Some(url), Some(reason)) => {
                coloured(Cell::new(format!("{url} ({reason})")), Color::Yellow, paint)
            }
            (None, reason) => {
                let reason = reason.as_deref().unwrap_or_default();
                let text = format!("port {} not served: {reason}", listener.port);
                coloured(Cell::new(text), Color::Red, paint)
            }
        };
        let routes = listener.attached_routes;
        table.add_row(vec![
            Cell::new(shown),
            Cell::new(listener.label()),
            address,
            Cell::new(some_of(&listener.hostnames, MAX_HOSTNAMES)),
            Cell::new(routes),
        ]);
    }
    let mut text = table.trim_fmt();
    let hidden = view.listeners().count().saturating_sub(MAX_ROWS);
    if hidden > 0 {
        text.push_str(&format!("\n... and {hidden} more listeners"));
    }
    text
}

/// A table without lines, as wide as it needs to be where it goes to a file.
pub(crate) fn plain<const N: usize>(header: [&str; N], paint: Paint) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header.map(|title| {
        let cell = Cell::new(title);
        if paint.on { cell.add_attribute(comfy_table::Attribute::Bold) } else { cell }
    }));
    table.set_content_arrangement(if paint.on {
        ContentArrangement::Dynamic
    } else {
        ContentArrangement::Disabled
    });
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// The cell in a colour, where colours are wanted.
pub(crate) fn coloured(cell: Cell, colour: Color, paint: Paint) -> Cell {
    if paint.on { cell.fg(colour) } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::view::{GatewayView, ListenerView};

    fn listener(name: &str, url: Option<&str>, hostnames: &[&str]) -> ListenerView {
        ListenerView {
            name: name.to_owned(),
            listener_set: None,
            protocol: "HTTP".to_owned(),
            port: 8080,
            served: url.is_some(),
            reason: url.is_none().then(|| "PortUnavailable".to_owned()),
            urls: url.map(str::to_owned).into_iter().collect(),
            hostnames: hostnames.iter().map(|name| (*name).to_owned()).collect(),
            attached_routes: 2,
        }
    }

    fn view(listeners: Vec<ListenerView>) -> View {
        let gateway = GatewayView {
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            class: "gwapi".to_owned(),
            listeners,
        };
        View { gateways: vec![gateway], routes: 2 }
    }

    #[test]
    fn a_row_says_where_a_listener_is_or_why_not() {
        let view = view(vec![
            listener("http", Some("http://127.0.0.1:8080"), &["a.com", "b.com", "c.com", "d.com"]),
            listener("alt", None, &["*"]),
        ]);
        let expected = "\
GATEWAY      LISTENER  ADDRESS                                HOSTNAMES                       ROUTES
default/web  http      http://127.0.0.1:8080                  a.com, b.com, c.com and 1 more  2
             alt       port 8080 not served: PortUnavailable  *                               2";
        assert_eq!(gateways(&view, Paint { on: false }), expected);
    }

    #[test]
    fn a_thousand_listeners_do_not_flood_the_terminal() {
        let listeners = (0..1000).map(|n| listener(&format!("l{n}"), None, &[])).collect();
        let text = gateways(&view(listeners), Paint { on: false });
        assert_eq!(text.lines().count(), MAX_ROWS + 2);
        assert!(text.ends_with("... and 940 more listeners"), "{text}");
    }
}
