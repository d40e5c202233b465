//! Texts with places to be filled from what is known of an instance: `team-{namespace}`.
//!
//! A place is a word in braces. Where the instance has nothing for one of them the text means nothing, so that a rule is never
//! satisfied by an empty string.

use std::fmt;

use crate::matching::Subject;

/// What a place is filled with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// The instance's name, or its runtime's id.
    Name,
    /// The runtime's id.
    Id,
    /// The Kubernetes namespace.
    Namespace,
    /// The pod.
    Pod,
    /// The container within the pod.
    Container,
    /// containerd's namespace.
    ContainerdNamespace,
    /// The user id in whose slice it is.
    User,
    /// The outermost of systemd's slices that it is in, without `.slice`.
    Slice,
    /// A label's value.
    Label(String),
}

impl Field {
    /// Those without an argument, as they are written.
    const PLAIN: [(&'static str, Self); 8] = [
        ("name", Self::Name),
        ("id", Self::Id),
        ("namespace", Self::Namespace),
        ("pod", Self::Pod),
        ("container", Self::Container),
        ("containerd_namespace", Self::ContainerdNamespace),
        ("user", Self::User),
        ("slice", Self::Slice),
    ];

    fn parse(word: &str) -> Option<Self> {
        if let Some(key) = word.strip_prefix("label:") {
            return (!key.is_empty()).then(|| Self::Label(key.to_owned()));
        }
        Self::PLAIN.into_iter().find(|(name, _)| *name == word).map(|(_, field)| field)
    }

    fn of(&self, subject: &Subject<'_>) -> Option<String> {
        let metadata = subject.metadata;
        let pod = metadata.pod.as_ref();
        match self {
            Self::Name => Some(subject.name.unwrap_or(subject.runtime_id).to_owned()),
            Self::Id => Some(subject.runtime_id.to_owned()),
            Self::Namespace => pod.map(|pod| pod.namespace.clone()),
            Self::Pod => pod.and_then(|pod| pod.name.clone()),
            Self::Container => pod.and_then(|pod| pod.container.clone()),
            Self::ContainerdNamespace => metadata.containerd_namespace.clone(),
            Self::User => metadata.place.user.map(|user| user.to_string()),
            Self::Slice => metadata.place.slices.first()?.strip_suffix(".slice").map(str::to_owned),
            Self::Label(key) => metadata.label(key).map(str::to_owned),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(key) => write!(f, "label:{key}"),
            plain => f.write_str(Self::PLAIN.iter().find(|(_, field)| field == plain).map_or("", |(name, _)| name)),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(Field),
}

/// A text with places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

/// Why a text is no template.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    /// Braces that do not pair.
    #[error("a brace without its other half")]
    Brace,
    /// A word that names nothing.
    #[error("{{{0}}} is nothing that is known of an instance")]
    Unknown(String),
}

impl Template {
    /// Parses a text.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, after) = rest.split_at(at);
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            let inner = after.strip_prefix('{').ok_or(TemplateError::Brace)?;
            let (word, after) = inner.split_once('}').ok_or(TemplateError::Brace)?;
            let field = Field::parse(word).ok_or_else(|| TemplateError::Unknown(word.to_owned()))?;
            pieces.push(Piece::Place(field));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    /// The places, in order.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Place(field) => Some(field),
            Piece::Text(_) => None,
        })
    }

    /// The text where there are no places.
    pub fn fixed(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text for a subject; none where it has nothing for a place.
    pub fn fill(&self, subject: &Subject<'_>) -> Option<String> {
        self.0.iter().try_fold(String::new(), |mut filled, piece| {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Place(field) => filled.push_str(&field.of(subject)?),
            }
            Some(filled)
        })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Place(field) => write!(f, "{{{field}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::{Metadata, Place, Pod};
    use crate::runtime::Runtime;

    #[test]
    fn parsed_filled_and_printed() {
        let metadata = Metadata {
            labels: vec![("a.b/c".into(), "v".into())],
            pod: Some(Pod { namespace: "shop".into(), name: Some("web-1".into()), container: None }),
            containerd_namespace: Some("k8s.io".into()),
            place: Place { user: Some(7), slices: vec!["acme.slice".into(), "acme-x.slice".into()], kubelets: true },
            ..Metadata::default()
        };
        let subject = Subject {
            runtime: Runtime::Containerd,
            runtime_id: "id1",
            uuid: None,
            name: None,
            image: None,
            cgroup: "/",
            metadata: &metadata,
        };
        for (text, filled) in [
            ("acme", Some("acme")),
            ("", Some("")),
            ("k8s-{namespace}", Some("k8s-shop")),
            ("{name}.{id}.{pod}", Some("id1.id1.web-1")),
            ("{container}", None),
            ("x{user}y{slice}z", Some("x7yacmez")),
            ("{containerd_namespace}", Some("k8s.io")),
            ("{label:a.b/c}", Some("v")),
            ("{label:none}", None),
        ] {
            let template = Template::parse(text).unwrap();
            assert_eq!(template.fill(&subject).as_deref(), filled, "{text}");
            assert_eq!(template.to_string(), text);
            assert_eq!(template.fixed().is_some(), !text.contains('{'), "{text}");
        }
    }

    #[test]
    fn what_is_no_template() {
        for text in ["{", "}", "a{name", "a}b{name}", "{name}}"] {
            assert_eq!(Template::parse(text), Err(TemplateError::Brace), "{text}");
        }
        for word in ["", "nmae", "label:", "{name"] {
            assert_eq!(
                Template::parse(&format!("{{{word}}}")),
                Err(match word {
                    "{name" => TemplateError::Unknown("{name".into()),
                    word => TemplateError::Unknown(word.into()),
                })
            );
        }
        assert!(TemplateError::Unknown("nmae".into()).to_string().contains("{nmae}"));
    }
}
