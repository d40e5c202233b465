//! What a row of the table is made of: a guest, what is expected of it, and of what stands behind the first defence.

use sonde_manifest::{Class, SectionError, embed};
use wit_component::StringEncoding;

use crate::assemble::{AssembleError, attach, component_of};

/// A file of `corpus/`.
#[derive(Debug, Clone, Copy)]
pub struct File {
    /// Without its extension; begins with the number of its row.
    pub name: &'static str,
    pub text: &'static str,
}

/// Where a guest's bytes come from.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// A core module, or a component that is the whole sensor.
    File(File),
    /// A component that is put inside an honest sensor.
    Attached(File),
    /// Made when it is asked for: a component, or a core module that becomes one.
    Generated(fn() -> Vec<u8>),
}

/// Whoever the guest connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Nobody.
    Absent,
    /// Takes the connection and says nothing.
    Silent,
    /// Never finishes connecting.
    Tarpit,
    /// Reads the head of a request, says this and closes.
    Says(&'static [u8]),
    /// Says the first once, where there is one after the head of a request, and the second for ever, as fast as it is read.
    Endless(&'static [u8], &'static [u8]),
    /// Reads the head of a request and says one byte of this every few milliseconds, over and over.
    Drips(&'static [u8]),
}

/// A defence that can be switched off by the grant or the manifest, or gone around, without touching the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defence {
    /// The check before compiling: the file is given to a compile worker as it is.
    Precheck,
    Fuel,
    /// A run's time on the CPU.
    Cpu,
    Wall,
    /// The count of a run's memories and tables; what is behind it is the pool's own size.
    Limiter,
    HostCalls,
    Boundary,
    /// The bytes of a result, as the node keeps it.
    ResultBytes,
    Families,
    Handles,
    Sockets,
    LogBytes,
    LogLines,
    /// The manifest asks for it and the check before compiling lets it pass; the grant does not hold it.
    Asking,
}

impl Defence {
    /// As it stands in the name of a case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Precheck => "precheck",
            Self::Fuel => "fuel",
            Self::Cpu => "cpu",
            Self::Wall => "wall",
            Self::Limiter => "limiter",
            Self::HostCalls => "host-calls",
            Self::Boundary => "boundary",
            Self::ResultBytes => "result-bytes",
            Self::Families => "families",
            Self::Handles => "handles",
            Self::Sockets => "sockets",
            Self::LogBytes => "log-bytes",
            Self::LogLines => "log-lines",
            Self::Asking => "asking",
        }
    }
}

/// Several of them, all off at once.
pub type Defences = &'static [Defence];

/// The class of what becomes of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Never loaded: the stage that refuses it, and a part of the sentence.
    Refused { stage: &'static str, says: &'static str },
    /// The run ends with one of these reasons.
    Fails(&'static [&'static str]),
    /// The run succeeds; what it brought is in the facts.
    Succeeds,
    /// Loaded or refused, as long as neither takes long.
    Either,
}

/// What must hold beside the class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fact {
    /// What the guest left as its state, as a number.
    Found {
        least: i64,
        most: i64,
    },
    Series(u64),
    Dropped(u64),
    LogsCut,
    LogLines(u64),
    LogBytesAtMost(u64),
    /// No character in logs or messages that ends a line or moves a terminal.
    Plain,
    /// Nor one that reorders it.
    NotReordered,
    Sockets(u64),
    /// The account shows all of the fuel and some of the time.
    BilledWhole,
    /// What is exposed has so many lines that are no comment, in each format.
    Lines(usize),
}

/// A row of the table.
#[derive(Debug, Clone)]
pub struct Guest {
    /// The file's, with what tells two rows of one file apart.
    pub name: String,
    source: Source,
    strings: StringEncoding,
    capabilities: &'static str,
    limits: &'static str,
    class: &'static str,
    config: String,
    manifest: bool,
    pub peer: Peer,
    pub expected: Expected,
    pub facts: Vec<Fact>,
    /// With these defences off, this.
    pub without: Vec<(Defences, Expected)>,
    /// How often it is run, each with the state of the one before; the last is judged.
    pub runs: u32,
    /// Runs first, as often as there are warm places.
    pub after: Option<&'static str>,
    /// What is demonstrated, in words.
    pub why: &'static str,
}

/// Why a guest's file could not be made. A defect of the corpus.
#[derive(Debug)]
pub enum FileError {
    Assemble(AssembleError),
    Section(SectionError),
}

impl Guest {
    fn new(name: &str, source: Source, why: &'static str, expected: Expected) -> Self {
        Self {
            name: name.to_owned(),
            source,
            strings: StringEncoding::UTF8,
            capabilities: "",
            limits: "",
            class: "small",
            config: String::new(),
            manifest: true,
            peer: Peer::Absent,
            expected,
            facts: Vec::new(),
            without: Vec::new(),
            runs: 1,
            after: None,
            why,
        }
    }

    pub(crate) fn file(file: File, why: &'static str, expected: Expected) -> Self {
        Self::new(file.name, Source::File(file), why, expected)
    }

    pub(crate) fn attached(file: File, why: &'static str, expected: Expected) -> Self {
        Self::new(file.name, Source::Attached(file), why, expected)
    }

    pub(crate) fn generated(name: &str, make: fn() -> Vec<u8>, why: &'static str, expected: Expected) -> Self {
        Self::new(name, Source::Generated(make), why, expected)
    }

    pub(crate) fn variant(mut self, variant: &str) -> Self {
        self.name = format!("{}/{variant}", self.name);
        self
    }

    pub(crate) fn strings(mut self, strings: StringEncoding) -> Self {
        self.strings = strings;
        self
    }

    /// Lines of `[capabilities]`.
    pub(crate) fn asks(mut self, capabilities: &'static str) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Lines of `[limits]`.
    pub(crate) fn limits(mut self, limits: &'static str) -> Self {
        self.limits = limits;
        self
    }

    pub(crate) fn class(mut self, class: &'static str) -> Self {
        self.class = class;
        self
    }

    /// A configuration key and its value, as TOML writes it.
    pub(crate) fn config(mut self, key: &str, toml: &str) -> Self {
        self.config += &format!("[config.{key}]\ntype = \"string\"\ndefault = {toml}\n");
        self
    }

    pub(crate) fn without_manifest(mut self) -> Self {
        self.manifest = false;
        self
    }

    pub(crate) fn peer(mut self, peer: Peer) -> Self {
        self.peer = peer;
        self
    }

    pub(crate) fn facts(mut self, facts: &[Fact]) -> Self {
        self.facts.extend_from_slice(facts);
        self
    }

    /// These facts in place of all before.
    pub(crate) fn only(mut self, facts: &[Fact]) -> Self {
        self.facts = facts.to_vec();
        self
    }

    pub(crate) fn without(mut self, defences: Defences, expected: Expected) -> Self {
        self.without.push((defences, expected));
        self
    }

    /// What holds one that never stops calling the node, one defence after the other.
    pub(crate) fn behind_host_calls(self) -> Self {
        self.without(&[Defence::HostCalls], Expected::Fails(&["fuel", "cpu"]))
            .without(&[Defence::HostCalls, Defence::Cpu], Expected::Fails(&["fuel"]))
            .without(&[Defence::HostCalls, Defence::Fuel], Expected::Fails(&["cpu"]))
            .without(&[Defence::HostCalls, Defence::Fuel, Defence::Cpu], Expected::Fails(&["deadline"]))
    }

    pub(crate) fn runs(mut self, runs: u32) -> Self {
        self.runs = runs;
        self
    }

    pub(crate) fn after(mut self, first: &'static str) -> Self {
        self.after = Some(first);
        self
    }

    /// The number of its row.
    pub fn row(&self) -> &str {
        self.name.split('-').next().unwrap_or(&self.name)
    }

    /// Whether loading it may cost so much that it is better done in a process of its own.
    pub fn is_dear(&self) -> bool {
        matches!(self.source, Source::Generated(_)) && !matches!(self.expected, Expected::Fails(_))
    }

    /// Of which class it says that it is.
    pub fn class_of(&self) -> Class {
        Class::ALL.into_iter().find(|class| class.name() == self.class).expect("the table names classes there are")
    }

    /// The sensor's file, with defences off in so far as the manifest can.
    ///
    /// # Errors
    /// The guest cannot be made: a defect of the corpus.
    pub fn bytes(&self, off: &[Defence]) -> Result<Vec<u8>, FileError> {
        let component = match self.source {
            Source::File(file) => component_of(&crate::assemble::wat(file).map_err(FileError::Assemble)?, self.strings),
            Source::Attached(file) => crate::assemble::wat(file).and_then(|inner| attach(&inner)),
            Source::Generated(make) => component_of(&make(), self.strings),
        };
        let component = component.map_err(FileError::Assemble)?;
        if !self.manifest {
            return Ok(component);
        }
        embed(&component, &self.manifest(off)).map_err(FileError::Section)
    }

    /// The text of its manifest.
    pub fn manifest(&self, off: &[Defence]) -> String {
        let is_off = |defence| off.contains(&defence);
        let mut limits = String::new();
        for (defence, line) in [(Defence::Fuel, "fuel = 2_000_000_000\n"), (Defence::Cpu, "cpu_ms = 10_000\n")] {
            limits += if is_off(defence) { line } else { "" };
        }
        limits += match (is_off(Defence::Fuel), is_off(Defence::Cpu)) {
            (true, true) => "wall = \"200ms\"\n",
            (true, false) => "wall = \"10s\"\n",
            _ => "",
        };
        let asked = if is_off(Defence::Asking) { "tcp = [1]\n" } else { "" };
        let (class, capabilities, own, config) = (self.class, self.capabilities, self.limits, &self.config);
        format!(
            "name = \"hostile\"\nversion = \"0.1.0\"\ndescription = \"Means harm.\"\ninterval = \"1s\"\n\
             class = \"{class}\"\n[capabilities]\nstate = true\n{asked}{capabilities}\n[limits]\n{limits}{own}\n{config}"
        )
    }
}
