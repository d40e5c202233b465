//! The table as OpenAPI 3.0.

use serde_json::{Map, Value, json};

use super::{Content, Kind, Operation, Parameter, ROUTES, Route};

/// What any route may answer, before it is looked at what it is for.
const ANY: [u16; 5] = [400, 405, 414, 421, 431];
/// And where somebody has to be known.
const KNOWN: [u16; 5] = [401, 403, 404, 429, 503];
const OUTCOMES: [u16; 2] = [502, 504];
/// What a change may be refused with, whatever it changes.
const CHANGES: [u16; 6] = [408, 409, 412, 413, 428, 507];

/// The whole description.
pub fn openapi() -> Value {
    let paths: Map<String, Value> = ROUTES.iter().map(|route| (route.path.to_owned(), path(route))).collect();
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Sonde, the tenants' door",
            "version": "1",
            "description": "Made of proxy/src/api.rs by `cargo xtask docs`. Errors are sentences in plain text. What is not the caller's is 404, as what is not there.",
        },
        "security": [{ "token": [] }],
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "description": "A token of the account, or a certificate in TLS" } },
        },
        "paths": paths,
    })
}

fn path(route: &Route) -> Value {
    let mut all = Map::new();
    let parameters: Vec<Value> = in_braces(route.path).map(in_path).collect();
    if !parameters.is_empty() {
        all.insert("parameters".to_owned(), parameters.into());
    }
    for one in route.operations {
        all.insert(one.method.to_owned(), operation(route, one));
    }
    all.into()
}

/// The names of a path's parameters.
pub(super) fn in_braces(path: &'static str) -> impl Iterator<Item = &'static str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn in_path(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
}

fn operation(route: &Route, one: &Operation) -> Value {
    let query = one.query.iter().map(|parameter| given(parameter, "query"));
    let parameters: Vec<Value> = query.chain(one.headers.iter().map(|parameter| given(parameter, "header"))).collect();
    let mut made = json!({ "summary": one.about, "responses": responses(route, one) });
    if !parameters.is_empty() {
        made["parameters"] = parameters.into();
    }
    if let Some(body) = one.body {
        made["requestBody"] = json!({ "required": true, "content": content(body) });
    }
    if route.kind == Kind::Open {
        made["security"] = json!([]);
    }
    made
}

fn given(parameter: &Parameter, place: &str) -> Value {
    let mut schema = json!({ "type": "string" });
    if !parameter.pattern.is_empty() {
        schema["pattern"] = parameter.pattern.into();
    }
    if parameter.is_list {
        schema = json!({ "type": "array", "items": schema });
        if let Some(most) = parameter.most {
            schema["maxItems"] = most.into();
        }
    }
    json!({ "name": parameter.name, "in": place, "description": parameter.about, "schema": schema })
}

fn responses(route: &Route, one: &Operation) -> Value {
    let mut all = Map::new();
    let mut add = |status: u16, about: &str, content: Value| {
        all.insert(status.to_string(), json!({ "description": about, "content": content }));
    };
    let is_change = one.method != "get";
    let words = content(Content::Text);
    for status in ANY {
        add(status, about(status), words.clone());
    }
    if route.kind != Kind::Open {
        KNOWN.iter().for_each(|status| add(*status, about(*status), words.clone()));
    }
    if is_change {
        CHANGES.iter().chain(&[500]).for_each(|status| add(*status, about(*status), words.clone()));
    }
    if route.kind == Kind::Target {
        // The state series go in the scraper's format; a JSON route's too.
        for status in OUTCOMES.into_iter().chain([429, 503]) {
            add(status, about(status), content(Content::Exposition));
        }
    }
    for status in one.more {
        add(*status, about(*status), if *status == 201 { content(one.good) } else { words.clone() });
    }
    add(200, "What was asked for", content(one.good));
    all.into()
}

fn about(status: u16) -> &'static str {
    match status {
        201 => "It is new",
        400 => "Not understood, or not valid: the sentence says what",
        401 => "No credentials, or none that count",
        403 => "The credential is not for this",
        404 => "Not there, or not the caller's",
        405 => "Not asked with this method",
        408 => "The body came too slowly",
        409 => "Not as things are: the sentence says why",
        412 => "Not as the caller expected it",
        413 => "Too large",
        414 => "The path and query are too long",
        421 => "Not a host of ours, or not the one that TLS was asked for",
        428 => "What is there would be replaced, and the caller has not said which",
        429 => "More than the account may: Retry-After",
        431 => "The head is too long",
        500 => "The store or the key for secrets fails",
        502 => "The node cannot be reached, or its agent refused: X-Sonde-Reason",
        503 => "Not known yet, or ended, or too busy: X-Sonde-Reason",
        504 => "The agent is slow: X-Sonde-Reason",
        507 => "The account has as much as it may",
        _ => "See the sentence",
    }
}

fn content(content: Content) -> Value {
    let string = json!({ "schema": { "type": "string" } });
    let of = |schema: Value| json!({ "application/json": { "schema": schema } });
    let texts = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    match content {
        Content::Exposition => json!({
            "text/plain": string,
            "application/openmetrics-text": string,
            "application/vnd.google.protobuf": { "schema": { "type": "string", "format": "binary" } },
        }),
        Content::List => of(json!({ "type": "array" , "items": {} })),
        Content::Object => of(json!({ "type": "object" })),
        Content::Text => json!({ "text/plain": string }),
        Content::Wasm => json!({ "application/wasm": { "schema": { "type": "string", "format": "binary" } } }),
        Content::Secrets => of(texts),
        Content::Percent => of(json!({
            "type": "object",
            "properties": { "percent": { "type": "integer", "minimum": 0, "maximum": 100 } },
            "required": ["percent"],
            "additionalProperties": false,
        })),
        Content::Configuration => of(json!({
            "type": "object",
            "properties": { "config": texts, "match": { "type": "object" } },
            "additionalProperties": false,
        })),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    const PAGE: &str = "../docs/openapi.json";

    #[test]
    fn the_page_is_what_the_table_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
        let made = format!("{:#}\n", openapi());
        if std::env::var_os("SONDE_WRITE_DOCS").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == made, "docs/openapi.json is not what the table says: `cargo xtask docs` writes it");
    }

    #[test]
    fn no_route_is_there_twice_and_each_has_one_of_a_method() {
        let paths: BTreeSet<&str> = ROUTES.iter().map(|route| route.path).collect();
        assert_eq!(paths.len(), ROUTES.len());
        for route in ROUTES {
            let methods: BTreeSet<&str> = route.operations.iter().map(|one| one.method).collect();
            assert_eq!(methods.len(), route.operations.len(), "{}", route.path);
        }
    }
}
