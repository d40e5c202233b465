//! The escape drill: code of ours in the runner's place, as if wasmtime had been broken out of, against the real thing around it.
//!
//! A real agent's end ([`sonde_broker::Client`]) has a real broker start runners, with their jail, cgroup and sockets. But the program is
//! this binary: as `runner` it closes the jail that it was given around itself, as an honest one does, and then does what it is told over
//! its agent's socket ([`puppet`]). Each attempt is expected to be refused, or to end that runner; after each, the broker and another
//! runner must go on working. What such code gains nevertheless is in SECURITY.md.

mod attempts;
mod calls;
mod orders;
mod puppet;
mod siege;
mod stage;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("broker") => {
            let program = std::env::current_exe().unwrap();
            return sonde_broker::run(program.clone(), program).unwrap();
        }
        Some("runner" | "compile-worker") => return puppet::run(arguments.last().unwrap()),
        Some("instance") => return stage::instance(),
        _ => {}
    }
    let tests = || attempts::TESTS.iter().chain(siege::TESTS);
    // What cargo and nextest ask of a harness: a list, one test by its name, those whose names hold a word.
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--list") {
        return tests().filter(|_| !has("--ignored")).for_each(|(name, _)| println!("{name}: test"));
    }
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: needs root");
    }
    let filter = arguments.iter().skip(1).find(|argument| !argument.starts_with('-'));
    let is_meant = |name: &str, filter: &str| if has("--exact") { name == filter } else { name.contains(filter) };
    for (name, test) in tests() {
        if filter.is_none_or(|filter| is_meant(name, filter)) {
            let began = std::time::Instant::now();
            stage::perform(*test);
            println!("test {name} ... ok ({:?})", began.elapsed());
        }
    }
}
