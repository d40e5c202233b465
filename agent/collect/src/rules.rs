//! The operator's rules for what is an instance, in their order: the first that matches decides.
//!
//! Without rules every container that a runtime made is an instance, and systemd's units and plain cgroups are not. A rule
//! leaves containers out, takes units and cgroups in, or gives a name. What is left out still holds what lies below it: else a
//! container that is left out could put instances of its own making in its place.
//!
//! Units and plain cgroups are taken only by a rule that names their runtime in full (no glob), because one that is meant
//! for containers must not turn half of the machine into instances; and whole slices and plain cgroups only where it also
//! says which, since the outermost that matches has all that is in it.

use crate::matching::{Match, Subject};
use crate::runtime::Runtime;
use crate::template::Template;

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceRule {
    /// For which it is.
    pub matching: Match,
    /// Whether what matches is an instance.
    pub instance: bool,
    /// What it is called; none leaves it its name.
    pub name: Option<Template>,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules(Vec<InstanceRule>);

/// What the rules say of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is an instance.
    pub instance: bool,
    /// Which rule says so, counted from 0; none is the default.
    pub rule: Option<usize>,
    /// What it is called by that rule.
    pub name: Option<String>,
}

impl Rules {
    /// In this order.
    pub fn new(rules: Vec<InstanceRule>) -> Self {
        Self(rules)
    }

    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = &InstanceRule> {
        self.0.iter()
    }

    /// Whether any of them can take a cgroup that no runtime claims.
    pub(crate) fn take_unclaimed(&self) -> bool {
        let names = |rule: &InstanceRule| Runtime::UNCLAIMED.iter().any(|runtime| names_in_full(rule, *runtime));
        self.0.iter().any(|rule| rule.instance && names(rule))
    }

    /// What becomes of a subject.
    pub fn decide(&self, subject: &Subject<'_>) -> Verdict {
        let unclaimed = Runtime::UNCLAIMED.contains(&subject.runtime);
        let decides = |rule: &InstanceRule| {
            // One that would take in must name what it takes; one that leaves out may be as wide as it likes.
            let meant = !unclaimed || !rule.instance || names_in_full(rule, subject.runtime);
            meant && rule.matching.matches(subject)
        };
        match self.0.iter().position(decides) {
            Some(at) => {
                let rule = &self.0[at];
                let name = rule.name.as_ref().and_then(|name| name.fill(subject));
                Verdict { instance: rule.instance, rule: Some(at), name }
            }
            None => Verdict { instance: !unclaimed, rule: None, name: None },
        }
    }
}

fn names_in_full(rule: &InstanceRule, runtime: Runtime) -> bool {
    rule.matching.runtime.as_deref() == Some(runtime.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Metadata;

    fn rule(runtime: Option<&str>, cgroup: Option<&str>, instance: bool) -> InstanceRule {
        let glob = |text: Option<&str>| text.map(str::to_owned);
        let matching = Match { runtime: glob(runtime), cgroup: glob(cgroup), ..Match::default() };
        InstanceRule { matching, instance, name: None }
    }

    fn decide(rules: &[InstanceRule], runtime: Runtime, cgroup: &str) -> (bool, Option<usize>) {
        let metadata = Metadata::default();
        let (runtime_id, uuid, name, image) = ("id", None, None, None);
        let subject = Subject { runtime, runtime_id, uuid, name, image, cgroup, metadata: &metadata };
        let verdict = Rules::new(rules.to_vec()).decide(&subject);
        (verdict.instance, verdict.rule)
    }

    #[test]
    fn the_first_that_matches_decides() {
        use Runtime::*;
        assert_eq!(decide(&[], Docker, "/docker/x"), (true, None));
        for unclaimed in Runtime::UNCLAIMED {
            assert_eq!(decide(&[], unclaimed, "/x"), (false, None));
        }
        let rules = [
            rule(Some("docker"), Some("/keep/*"), true),
            rule(Some("docker"), None, false),
            rule(Some("systemd"), Some("/system.slice/s*"), true),
            rule(None, None, true),
        ];
        assert_eq!(decide(&rules, Docker, "/keep/x"), (true, Some(0)));
        assert_eq!(decide(&rules, Docker, "/docker/x"), (false, Some(1)));
        assert_eq!(decide(&rules, Podman, "/x"), (true, Some(3)));
        assert_eq!(decide(&rules, Systemd, "/system.slice/ssh.service"), (true, Some(2)));
        assert_eq!(decide(&rules, Systemd, "/system.slice/cron.service"), (false, None), "no glob takes a unit");
        assert_eq!(decide(&rules, Cgroup, "/keep/x"), (false, None));
        // What is left out is so whatever comes later.
        let rules = [rule(None, Some("/a/*"), false), rule(Some("cgroup"), Some("/*"), true)];
        assert_eq!(decide(&rules, Cgroup, "/a/b"), (false, Some(0)));
        assert_eq!(decide(&rules, Cgroup, "/b"), (true, Some(1)));
        assert!(Rules::new(rules.to_vec()).take_unclaimed());
        assert!(!Rules::new(vec![rule(Some("system*"), None, true)]).take_unclaimed());
        assert!(!Rules::new(vec![rule(Some("systemd"), None, false)]).take_unclaimed());
    }
}
