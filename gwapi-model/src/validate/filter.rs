//! Filters of routes, of rules and of backends alike.

use super::checker::{Checker, Member, quote};
use super::syntax::{CORS_ORIGIN, HEADER_NAME, HEADER_VALUE, PRECISE_HOSTNAME, any};
use super::{external_auth, reference};
use crate::{
    GrpcRouteRule, HttpCorsFilter, HttpHeader, HttpHeaderFilter, HttpMethod, HttpPathModifier,
    HttpRequestMirrorFilter, HttpRequestRedirectFilter, HttpRouteFilter, HttpRouteFilterType,
    HttpUrlRewriteFilter, PathModifierType,
};

/// Whether the rule around a filter has the one prefix that `ReplacePrefixMatch` replaces (HF-6).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PrefixReplacement {
    Possible,
    Impossible,
}

/// The filters that a route may have: those of its kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Filters {
    OfHttp(PrefixReplacement),
    OfGrpc,
}

impl Filters {
    fn types(self) -> &'static [&'static str] {
        match self {
            Self::OfHttp(_) => HttpRouteFilterType::KNOWN,
            Self::OfGrpc => GrpcRouteRule::FILTERS, // GR-7
        }
    }

    fn replacement(self) -> PrefixReplacement {
        match self {
            Self::OfHttp(replacement) => replacement,
            Self::OfGrpc => PrefixReplacement::Impossible,
        }
    }
}

/// At most 16 filters, those of most types once, never a redirect with a rewrite (section A4.4 of
/// the rules).
pub(super) fn filters(check: &mut Checker, filters: &[HttpRouteFilter], known: Filters) {
    check.list("filters", filters, 0..=16, |check, item| filter(check, item, known));
    check.unique(
        "filters",
        filters,
        Some("type"),
        |filter| {
            let repeatable = matches!(
                filter.filter_type,
                HttpRouteFilterType::RequestMirror
                    | HttpRouteFilterType::ExtensionRef
                    | HttpRouteFilterType::ExternalAuth
                    | HttpRouteFilterType::Other(_)
            );
            (!repeatable).then_some(&filter.filter_type)
        },
        |filter| format!("an earlier filter is of type {} too", filter.filter_type),
    );
    let is_there = |wanted| filters.iter().any(|filter| filter.filter_type == wanted);
    if is_there(HttpRouteFilterType::RequestRedirect) && is_there(HttpRouteFilterType::UrlRewrite) {
        check.field("filters", |check| {
            check.report_with_help(
                "RequestRedirect and URLRewrite exclude each other",
                "give the redirect its own path and hostname, or keep the rewrite alone",
            );
        });
    }
}

fn filter(check: &mut Checker, filter: &HttpRouteFilter, known: Filters) {
    let of_type = filter.filter_type.as_str();
    let replacement = known.replacement();
    check.one_of("type", of_type, known.types());
    let (members, foreign): (Vec<Member>, Vec<Member>) =
        members(filter).into_iter().partition(|member| known.types().contains(&member.of_type));
    check.union(of_type, &members);
    for Member { of_type: foreign, field, .. } in
        foreign.into_iter().filter(|member| member.is_set && member.of_type != of_type)
    {
        check.field(field, |check| {
            check.report_with_help(
                format!("a route of this kind has no filter of type {foreign}"),
                format!("remove `{field}`"),
            );
        });
    }
    check.optional(
        "requestHeaderModifier",
        filter.request_header_modifier.as_ref(),
        header_modifier,
    );
    check.optional(
        "responseHeaderModifier",
        filter.response_header_modifier.as_ref(),
        header_modifier,
    );
    check.optional("requestMirror", filter.request_mirror.as_ref(), mirror);
    check.optional("requestRedirect", filter.request_redirect.as_ref(), |check, redirect| {
        self::redirect(check, redirect, replacement);
    });
    check.optional("urlRewrite", filter.url_rewrite.as_ref(), |check, rewrite| {
        self::rewrite(check, rewrite, replacement);
    });
    check.optional("cors", filter.cors.as_ref(), cors);
    check.optional("externalAuth", filter.external_auth.as_deref(), external_auth::filter);
    check.optional("extensionRef", filter.extension_ref.as_ref(), reference::local);
}

fn members(filter: &HttpRouteFilter) -> [Member; 8] {
    let member = |of_type, field, is_set| Member { of_type, field, is_set };
    [
        member(
            "RequestHeaderModifier",
            "requestHeaderModifier",
            filter.request_header_modifier.is_some(),
        ),
        member(
            "ResponseHeaderModifier",
            "responseHeaderModifier",
            filter.response_header_modifier.is_some(),
        ),
        member("RequestMirror", "requestMirror", filter.request_mirror.is_some()),
        member("RequestRedirect", "requestRedirect", filter.request_redirect.is_some()),
        member("URLRewrite", "urlRewrite", filter.url_rewrite.is_some()),
        member("CORS", "cors", filter.cors.is_some()),
        member("ExternalAuth", "externalAuth", filter.external_auth.is_some()),
        member("ExtensionRef", "extensionRef", filter.extension_ref.is_some()),
    ]
}

/// Names once in `set`, once in `add`, once in `remove`, compared as they are written (HF-1).
fn header_modifier(check: &mut Checker, modifier: &HttpHeaderFilter) {
    for (list, headers) in [("set", &modifier.set), ("add", &modifier.add)] {
        check.list(list, headers, 0..=16, |check, HttpHeader { name, value }| {
            check.text("name", name, &HEADER_NAME);
            check.text("value", value, &HEADER_VALUE);
        });
        check.unique(
            list,
            headers,
            Some("name"),
            |header| Some(&header.name),
            |header| format!("an earlier entry is for header {} too", quote(&header.name)),
        );
    }
    check.list("remove", &modifier.remove, 0..=16, |_, _| {});
    check.set("remove", &modifier.remove);
}

/// A share by percent or by fraction (HF-7).
fn mirror(check: &mut Checker, mirror: &HttpRequestMirrorFilter) {
    check.field("backendRef", |check| reference::backend(check, (&mirror.backend_ref).into()));
    check.number("percent", mirror.percent.map(i64::from), 0..=100);
    check.optional("fraction", mirror.fraction.as_ref(), |check, fraction| {
        let denominator = fraction.denominator.unwrap_or(100);
        let natural = i64::from(i32::MAX);
        check.number("numerator", Some(fraction.numerator.into()), 0..=natural);
        check.number("denominator", Some(denominator.into()), 1..=natural);
        if fraction.numerator > denominator {
            check
                .report(format!("{} of {denominator} is more than everything", fraction.numerator));
        }
    });
    if mirror.percent.is_some() && mirror.fraction.is_some() {
        check.report("`percent` and `fraction` exclude each other");
    }
}

/// Where a redirect leads (HF-2 to HF-4).
fn redirect(
    check: &mut Checker,
    redirect: &HttpRequestRedirectFilter,
    replacement: PrefixReplacement,
) {
    if let Some(scheme) = &redirect.scheme {
        check.one_of("scheme", scheme, &["http", "https"]);
    }
    check.optional_text("hostname", redirect.hostname.as_ref(), &PRECISE_HOSTNAME);
    check.optional("path", redirect.path.as_ref(), |check, path| {
        path_modifier(check, path, replacement);
    });
    if let Some(code) = redirect.status_code {
        let code = code.to_string();
        check.one_of("statusCode", &code, &["301", "302", "303", "307", "308"]);
    }
}

/// What a backend sees (HF-5).
fn rewrite(check: &mut Checker, rewrite: &HttpUrlRewriteFilter, replacement: PrefixReplacement) {
    check.optional_text("hostname", rewrite.hostname.as_ref(), &PRECISE_HOSTNAME);
    check.optional("path", rewrite.path.as_ref(), |check, path| {
        path_modifier(check, path, replacement);
    });
}

/// The member that fits the type, and the match that a prefix needs (HF-4, HF-6).
fn path_modifier(check: &mut Checker, modifier: &HttpPathModifier, replacement: PrefixReplacement) {
    let of_type = modifier.modifier_type.as_str();
    let HttpPathModifier { replace_full_path, replace_prefix_match, .. } = modifier;
    check.one_of("type", of_type, PathModifierType::KNOWN);
    let member = |of_type, field, is_set| Member { of_type, field, is_set };
    check.union(
        of_type,
        &[
            member("ReplaceFullPath", "replaceFullPath", replace_full_path.is_some()),
            member("ReplacePrefixMatch", "replacePrefixMatch", replace_prefix_match.is_some()),
        ],
    );
    check.optional_text("replaceFullPath", replace_full_path.as_ref(), &any("a path", 1024));
    check.optional_text("replacePrefixMatch", replace_prefix_match.as_ref(), &any("a path", 1024));
    if modifier.modifier_type == PathModifierType::ReplacePrefixMatch
        && replacement == PrefixReplacement::Impossible
    {
        check.report_with_help(
            "ReplacePrefixMatch replaces the prefix of exactly one match of type PathPrefix, \
             which the rule does not have",
            "give every prefix a rule of its own",
        );
    }
}

/// Cross-origin requests (CO-1, CO-5 to CO-7); `*` stands alone.
fn cors(check: &mut Checker, cors: &HttpCorsFilter) {
    check.list("allowOrigins", &cors.allow_origins, 0..=64, |check, origin| {
        check.value(origin, &CORS_ORIGIN);
    });
    let mut methods = HttpMethod::KNOWN.to_vec();
    methods.push("*");
    check.list("allowMethods", &cors.allow_methods, 0..=9, |check, method| {
        check.value_of(method, &methods);
    });
    for (list, headers) in
        [("allowHeaders", &cors.allow_headers), ("exposeHeaders", &cors.expose_headers)]
    {
        check.list(list, headers, 0..=64, |check, header| check.value(header, &HEADER_NAME));
        check.set(list, headers);
    }
    check.set("allowOrigins", &cors.allow_origins);
    check.set("allowMethods", &cors.allow_methods);
    for (list, entries) in [
        ("allowOrigins", &cors.allow_origins),
        ("allowMethods", &cors.allow_methods),
        ("allowHeaders", &cors.allow_headers),
    ] {
        if entries.len() > 1 && entries.iter().any(|entry| entry == "*") {
            check
                .field(list, |check| check.report("`*` stands for everything, so it stands alone"));
        }
    }
    check.number("maxAge", cors.max_age.map(i64::from), 1..=i64::from(i32::MAX));
}
