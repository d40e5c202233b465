//! Whose names the native series carry: cAdvisor's and node_exporter's, cmon-agent's, or both.
//!
//! What is ours alone (`sonde_…`) is there whichever is asked for. A name that is unknown, there twice, or none at all is
//! refused.

/// Which names are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// cAdvisor's of instances, node_exporter's of the node.
    pub cadvisor: bool,
    /// cmon-agent's of both.
    pub triton: bool,
}

impl Default for Names {
    fn default() -> Self {
        Self { cadvisor: true, triton: false }
    }
}

/// Why a list of names was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamesError {
    /// Neither of the two.
    #[error("has {0:?}: \"cadvisor\", \"triton\" or both are allowed")]
    Unknown(String),
    /// The same again.
    #[error("has {0:?} twice")]
    Twice(String),
    /// Without one nothing would be told of an instance but its state.
    #[error("is empty: \"cadvisor\", \"triton\" or both are allowed")]
    Empty,
}

impl Names {
    /// Those of a list.
    pub fn of(list: &[String]) -> Result<Self, NamesError> {
        let mut names = Self { cadvisor: false, triton: false };
        for name in list {
            let slot = match name.as_str() {
                "cadvisor" => &mut names.cadvisor,
                "triton" => &mut names.triton,
                _ => return Err(NamesError::Unknown(name.clone())),
            };
            if std::mem::replace(slot, true) {
                return Err(NamesError::Twice(name.clone()));
            }
        }
        if names.list().is_empty() { Err(NamesError::Empty) } else { Ok(names) }
    }

    /// The list that means these.
    pub fn list(self) -> Vec<&'static str> {
        [("cadvisor", self.cadvisor), ("triton", self.triton)]
            .into_iter()
            .filter_map(|(name, wanted)| wanted.then_some(name))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_taken_whole_or_refused() {
        let of = |list: &[&str]| Names::of(&list.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(of(&["cadvisor"]), Ok(Names::default()));
        assert_eq!(of(&["triton", "cadvisor"]), Ok(Names { cadvisor: true, triton: true }));
        assert_eq!(of(&["triton"]).unwrap().list(), ["triton"]);
        assert_eq!(of(&[]), Err(NamesError::Empty));
        assert_eq!(of(&["triton", "triton"]), Err(NamesError::Twice("triton".into())));
        let said = of(&["Triton"]).unwrap_err().to_string();
        assert_eq!(said, r#"has "Triton": "cadvisor", "triton" or both are allowed"#);
    }
}
