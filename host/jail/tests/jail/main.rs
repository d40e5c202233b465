//! Enters the jail for real and attacks it from inside, one act a child process.
//!
//! Each act is tried with all layers, then with the layer that stopped it left out, to see that the
//! next one holds; and where that is worth it with all of them left out, to see that the act would
//! have worked. The children are this binary again, which is why it has no harness: a process must
//! have one thread to enter.

mod agent;
mod child;
mod honest;
mod outcome;
mod rooms;
mod walls;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("--act") => return child::run(&arguments[2], &arguments[3]),
        Some("--agent") => return agent::run(),
        Some("--middle") => return outcome::middle(&arguments[2]),
        _ => {}
    }
    let is_root = rustix::process::geteuid().is_root();
    let tests = || walls::TESTS.iter().chain(rooms::TESTS).chain(agent::TESTS);
    // What cargo and nextest ask of a harness: a list, one test by its name, those whose names hold a word.
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--list") {
        return tests().filter(|_| !has("--ignored")).for_each(|(name, _, _)| println!("{name}: test"));
    }
    let filter = arguments.iter().skip(1).find(|argument| !argument.starts_with('-'));
    let is_meant = |name: &str, filter: &str| if has("--exact") { name == filter } else { name.contains(filter) };
    let mut count = 0;
    for (name, needs_root, test) in tests() {
        if filter.is_some_and(|filter| !is_meant(name, filter)) {
            continue;
        }
        if *needs_root && !is_root {
            println!("test {name} ... skipped: needs root");
            continue;
        }
        test();
        println!("test {name} ... ok");
        count += 1;
    }
    println!("\ntest result: ok. {count} passed; {} children", outcome::children());
}

/// Name, whether it needs root, and the test, which panics if it fails.
type Test = (&'static str, bool, fn());
