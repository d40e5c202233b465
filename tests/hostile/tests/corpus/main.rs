//! Every guest of the corpus through the sandbox, and every backstop behind a defence that is off.
//!
//! A case is named after its row, so that what fails names the attack. Each asserts the class of the outcome, that the run ended within a
//! bound, and that an honest neighbour is well right after it. Runs are in this process, by the runner's own code; what is dear to compile, and
//! whatever goes around the check before that, is given to a real compile worker, and what it costs this process is measured.

mod cases;
mod chance;
mod judge;
mod outcome;
mod peer;
mod whole;
mod workers;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Runs are held to time limits, and honest ones beside them would be in each other's way.
    arguments.test_threads.get_or_insert(1);
    let trials: Vec<Trial> = cases::trials().into_iter().chain(whole::trials()).chain(chance::trials()).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
