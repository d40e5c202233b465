//! Writes the page of docs/ that is generated out of the code: the test that holds it to the code writes it when it is told to.
//!
//! So xtask need not know the agent, and there is one generator.

use crate::error::Error;
use crate::setup::{For, setup};
use crate::workspace::{Workspace, run};

pub(crate) fn docs(workspace: &Workspace) -> Result<(), Error> {
    setup(For::Lint)?;
    let mut command = workspace.cargo(["test", "--package", "sonde-agent", "--lib", "--quiet", "--", "series_page"]);
    run("writing docs/series.md", command.env("SONDE_WRITE_DOCS", "1"))
}
