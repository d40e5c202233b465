//! Content negotiation: which format, escaping and compression a request gets.
//!
//! The rule is client_golang's: of what the client lists, ordered by `q`, the first that we offer; the
//! last valid `escaping` seen until then holds. Wildcards choose nothing, because every scraper means
//! "whatever you have" by them, and that is text 0.0.4, which is also the answer where nothing matches:
//! a scrape refused with 406 helps nobody. A `q` over 1 (Prometheus 2.49 sent `*/*;q=2`) counts as 1,
//! one that is no number as absent.
//!
//! `allow-utf-8` is honoured only in the formats that promise it (text and OpenMetrics 1.0.0, protobuf);
//! elsewhere it means underscores, and so does naming no escaping, as Prometheus from 3.4 on beside protobuf.
//! OpenMetrics 0.0.1 is answered in kind, without exemplars: Prometheus reads those only since 2.15.

/// The format of an exposition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus text 0.0.4: the default, and what a browser or curl gets.
    #[default]
    Text004,
    /// Prometheus text 1.0.0: the same, but names may be quoted UTF-8.
    Text100,
    /// OpenMetrics 0.0.1: what Prometheus 2.5 to 2.26 asks for. Without exemplars, which the earliest of them refuse.
    OpenMetrics001,
    /// OpenMetrics 1.0.0.
    OpenMetrics100,
    /// Delimited messages `io.prometheus.client.MetricFamily`: what Prometheus asks for first where native histograms are on.
    Protobuf,
}

impl Format {
    /// Whether this is one of the OpenMetrics versions.
    pub fn is_openmetrics(self) -> bool {
        matches!(self, Self::OpenMetrics001 | Self::OpenMetrics100)
    }

    /// Whether names may be any UTF-8.
    pub(crate) fn allows_utf8(self) -> bool {
        matches!(self, Self::Text100 | Self::OpenMetrics100 | Self::Protobuf)
    }
}

/// How names outside the legacy character set are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Escaping {
    /// Each illegal character becomes `_`.
    #[default]
    Underscores,
    /// `_` becomes `__`, `.` becomes `_dot_`, any other illegal character `__`.
    Dots,
    /// `U__`, then `_` as `__` and any illegal character as its hexadecimal code point between `_`.
    Values,
    /// Not escaped: quoted, inside the braces, in text; as they are in protobuf.
    AllowUtf8,
}

impl Escaping {
    /// The scheme that a client calls so, if there is one.
    fn parse(word: &str) -> Option<Self> {
        match word {
            "underscores" => Some(Self::Underscores),
            "dots" => Some(Self::Dots),
            "values" => Some(Self::Values),
            "allow-utf-8" => Some(Self::AllowUtf8),
            _ => None,
        }
    }
}

/// What a client and we agreed on. `Default` is text 0.0.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Negotiated {
    /// The format of the body.
    pub format: Format,
    /// How names outside the legacy character set are written.
    pub escaping: Escaping,
    /// The value of `Content-Type` to answer with; it names the escaping where the client did.
    pub content_type: &'static str,
}

impl Negotiated {
    /// `format` with the scheme that the client asked for, if it asked.
    pub fn new(format: Format, asked: Option<Escaping>) -> Self {
        let asked = match asked {
            Some(Escaping::AllowUtf8) if !format.allows_utf8() => Some(Escaping::Underscores),
            other => other,
        };
        Self { format, escaping: asked.unwrap_or_default(), content_type: content_type(format, asked) }
    }
}

impl Default for Negotiated {
    fn default() -> Self {
        Self::new(Format::Text004, None)
    }
}

/// A content type with and without each escaping, as one static string.
macro_rules! with_escaping {
    ($base:literal, $asked:expr) => {
        match $asked {
            None => $base,
            Some(Escaping::Underscores) => concat!($base, "; escaping=underscores"),
            Some(Escaping::Dots) => concat!($base, "; escaping=dots"),
            Some(Escaping::Values) => concat!($base, "; escaping=values"),
            Some(Escaping::AllowUtf8) => concat!($base, "; escaping=allow-utf-8"),
        }
    };
}

fn content_type(format: Format, asked: Option<Escaping>) -> &'static str {
    match format {
        Format::Text004 => with_escaping!("text/plain; version=0.0.4; charset=utf-8", asked),
        Format::Text100 => with_escaping!("text/plain; version=1.0.0; charset=utf-8", asked),
        Format::OpenMetrics001 => with_escaping!("application/openmetrics-text; version=0.0.1; charset=utf-8", asked),
        Format::OpenMetrics100 => with_escaping!("application/openmetrics-text; version=1.0.0; charset=utf-8", asked),
        Format::Protobuf => with_escaping!(
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
            asked
        ),
    }
}

/// One element of an `Accept` or `Accept-Encoding` header.
struct Preference<'a> {
    name: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    q: f64,
}

impl<'a> Preference<'a> {
    fn parse(element: &'a str) -> Option<Self> {
        let mut parts = element.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let mut preference = Self { name, parameters: Vec::new(), q: 1.0 };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            let (key, value) = (key.trim(), value.trim().trim_matches('"'));
            if key.eq_ignore_ascii_case("q") {
                preference.q = value.parse::<f64>().ok().filter(|q| !q.is_nan()).map_or(1.0, |q| q.clamp(0.0, 1.0));
            } else {
                preference.parameters.push((key, value));
            }
        }
        Some(preference)
    }

    /// The last value given for `key`: Prometheus 3.0 to 3.3 repeats a parameter.
    fn parameter(&self, key: &str) -> Option<&'a str> {
        self.parameters.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| *value)
    }

    /// The format that this element names, if we offer it.
    fn format(&self) -> Option<Format> {
        let version = self.parameter("version").unwrap_or_default();
        if self.name.eq_ignore_ascii_case("text/plain") {
            match version {
                "" | "0.0.4" => Some(Format::Text004),
                "1.0.0" => Some(Format::Text100),
                _ => None,
            }
        } else if self.name.eq_ignore_ascii_case("application/openmetrics-text") {
            match version {
                "" | "1.0.0" => Some(Format::OpenMetrics100),
                "0.0.1" => Some(Format::OpenMetrics001),
                _ => None,
            }
        } else if self.name.eq_ignore_ascii_case("application/vnd.google.protobuf") {
            // Without these it could be any message, and in one of client_golang's encodings for people.
            let is_ours = self.parameter("proto") == Some("io.prometheus.client.MetricFamily");
            (is_ours && self.parameter("encoding") == Some("delimited")).then_some(Format::Protobuf)
        } else {
            None
        }
    }
}

/// The elements of a header that are wanted at all, best first; those of equal `q` stay in the client's order.
fn preferences(header: &str) -> Vec<Preference<'_>> {
    let mut wanted: Vec<_> = header.split(',').filter_map(Preference::parse).collect();
    wanted.sort_by(|left, right| right.q.total_cmp(&left.q));
    wanted
}

/// Chooses format and escaping by the `Accept` header (several headers joined by commas; `None` if absent).
pub fn negotiate(accept: Option<&str>) -> Negotiated {
    let mut asked = None;
    for preference in preferences(accept.unwrap_or_default()).iter().filter(|preference| preference.q > 0.0) {
        asked = preference.parameter("escaping").and_then(Escaping::parse).or(asked);
        if let Some(format) = preference.format() {
            return Negotiated::new(format, asked);
        }
    }
    Negotiated::new(Format::Text004, asked)
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Not at all.
    #[default]
    Identity,
    /// `gzip`: the only one that Prometheus understands.
    Gzip,
    /// `zstd`.
    Zstd,
}

/// Chooses compression by the `Accept-Encoding` header: gzip if it is wanted, zstd only where it is wanted more,
/// nothing where the client says that it likes that better, or names nothing we know.
pub fn accept_encoding(header: Option<&str>) -> Encoding {
    let wanted = preferences(header.unwrap_or_default());
    let q = |names: &[&str]| {
        let named = wanted.iter().find(|one| names.iter().any(|name| one.name.eq_ignore_ascii_case(name)));
        named.map(|one| one.q)
    };
    let gzip = q(&["gzip", "x-gzip"]).or_else(|| q(&["*"])).unwrap_or(0.0);
    let zstd = q(&["zstd"]).unwrap_or(0.0);
    let identity = q(&["identity"]).unwrap_or(0.0);
    if zstd > gzip && zstd >= identity {
        Encoding::Zstd
    } else if gzip > 0.0 && gzip >= identity {
        Encoding::Gzip
    } else {
        Encoding::Identity
    }
}
