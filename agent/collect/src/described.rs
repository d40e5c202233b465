//! What there is to know of a family of ours, in one place: name, kind, unit, help, labels, source, and when it is absent.
//!
//! A family stands in one table, beside the function that takes its value out of a reading. Its exposition is written
//! from that row, and so is its row of `docs/series.md`: neither can tell what the other does not. A family that is not
//! described cannot be written, because [`Out`] takes nothing else; names that the kernel makes up (the lines of
//! `/proc/meminfo`) are described by a pattern in which `NAME` stands for the kernel's word.

use sonde_expo::{FamilyWriter, Kind, Labels, Number, Writer};

use crate::names::Names;

/// Stands in a name and a help text for a word of the kernel's.
pub const NAME: &str = "NAME";
/// Families of these need no leave of [`Names`]: they are nobody's but ours.
const OURS: &str = "sonde_";

/// A family.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// As its samples carry it; a counter's ends in `_total` unless it is inherited.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// What its name ends in, or empty.
    pub unit: &'static str,
    /// For HELP.
    pub help: &'static str,
    /// Labels beside those of the instance.
    pub labels: &'static [&'static str],
    /// Kernel file and field, or what else it comes from. Empty where it has none on this platform.
    pub source: &'static str,
    /// When it is not written; empty where it always is.
    pub absent: &'static str,
    /// Of an inherited name: in what it is another than the one inherited from.
    pub differs: &'static str,
}

impl Described {
    /// The same with labels.
    #[must_use]
    pub const fn by(mut self, labels: &'static [&'static str]) -> Self {
        self.labels = labels;
        self
    }

    /// The same with its source.
    #[must_use]
    pub const fn of(mut self, source: &'static str) -> Self {
        self.source = source;
        self
    }

    /// The same with when it is absent.
    #[must_use]
    pub const fn unless(mut self, absent: &'static str) -> Self {
        self.absent = absent;
        self
    }

    /// The same with in what it differs.
    #[must_use]
    pub const fn but(mut self, differs: &'static str) -> Self {
        self.differs = differs;
        self
    }
}

/// A family of a kind; its source and the rest are told by the methods of [`Described`].
pub const fn described(kind: Kind, name: &'static str, unit: &'static str, help: &'static str) -> Described {
    Described { name, kind, unit, help, labels: &[], source: "", absent: "", differs: "" }
}

/// A counter.
pub const fn counter(name: &'static str, unit: &'static str, help: &'static str) -> Described {
    described(Kind::Counter, name, unit, help)
}

/// A gauge.
pub const fn gauge(name: &'static str, unit: &'static str, help: &'static str) -> Described {
    described(Kind::Gauge, name, unit, help)
}

/// A family of which each `T` (a reading, a device, an interface) has a sample at most.
#[derive(Debug)]
pub struct Row<T: 'static> {
    /// The family.
    pub about: Described,
    /// Its value; none where this one has none.
    pub value: fn(&T) -> Option<Number>,
}

/// A part of `docs/series.md`.
#[derive(Debug)]
pub struct Section {
    /// Its heading.
    pub title: &'static str,
    /// What holds for all of it.
    pub text: &'static str,
    /// Its families, in the order in which they are written.
    pub families: Vec<&'static Described>,
}

impl Section {
    /// One of these families.
    pub fn new(title: &'static str, text: &'static str, families: Vec<&'static Described>) -> Self {
        Self { title, text, families }
    }
}

/// The families of rows.
pub fn families_of<T>(rows: &'static [Row<T>]) -> impl Iterator<Item = &'static Described> {
    rows.iter().map(|row| &row.about)
}

/// Where described families are written to.
pub struct Out<'o, 'w> {
    writer: &'o mut Writer<'w>,
    base: &'o Labels,
    names: Names,
}

impl<'o, 'w> Out<'o, 'w> {
    /// Writes under these labels what goes by these names.
    pub fn new(writer: &'o mut Writer<'w>, base: &'o Labels, names: Names) -> Self {
        Self { writer, base, names }
    }

    fn wants(&self, about: &Described) -> bool {
        self.names.cadvisor || about.name.starts_with(OURS)
    }

    /// Begins a family, and gives the labels that go before each sample's own; none where its name is not wanted.
    pub fn family(&mut self, about: &'static Described) -> Option<(FamilyWriter<'_>, &'o Labels)> {
        let base = self.base;
        self.wants(about).then(|| (self.writer.family(about.name, about.kind, about.help, about.unit), base))
    }

    /// Begins a family of a pattern, its `NAME` being `word`.
    pub fn named(&mut self, about: &'static Described, word: &str, write: impl FnOnce(&mut FamilyWriter<'_>, &Labels)) {
        if self.wants(about) {
            let (name, help) = (about.name.replace(NAME, word), about.help.replace(NAME, word));
            write(&mut self.writer.family(&name, about.kind, &help, about.unit), self.base);
        }
    }

    /// One sample without a label of its own.
    pub fn one(&mut self, about: &'static Described, value: Option<Number>) {
        if let Some(value) = value
            && let Some((mut family, base)) = self.family(about)
        {
            family.sample(base, &[], value);
        }
    }

    /// A family of each row, of one sample each.
    pub fn rows<T>(&mut self, rows: &'static [Row<T>], it: &T) {
        for row in rows {
            self.one(&row.about, (row.value)(it));
        }
    }

    /// A family of each row, with a sample of each of `all` that has one. `labels` are the values of the row's labels.
    pub fn each<'t, T, const N: usize>(
        &mut self,
        rows: &'static [Row<T>],
        all: &'t [T],
        labels: impl Fn(&'t T) -> [&'t str; N],
    ) {
        for row in rows {
            if all.iter().all(|it| (row.value)(it).is_none()) {
                continue;
            }
            let Some((mut family, base)) = self.family(&row.about) else { continue };
            for it in all {
                if let Some(value) = (row.value)(it) {
                    let values = labels(it);
                    let extra: [(&str, &str); N] = std::array::from_fn(|at| (row.about.labels[at], values[at]));
                    family.sample(base, &extra, value);
                }
            }
        }
    }

    /// A family whose samples differ in its one label.
    pub fn labelled<'v>(&mut self, about: &'static Described, values: impl Iterator<Item = (&'v str, Option<Number>)>) {
        let mut values = values.filter_map(|(of, value)| Some((of, value?))).peekable();
        if values.peek().is_none() {
            return;
        }
        let Some((mut family, base)) = self.family(about) else { return };
        for (of, value) in values {
            family.sample(base, &[(about.labels[0], of)], value);
        }
    }
}
