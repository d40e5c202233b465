//! Writes the pages of docs/ that are generated out of the code: the test that holds one to the code writes it when it is told to.
//!
//! So xtask need not know agent and proxy, and there is one generator of each.

use crate::error::Error;
use crate::setup::{For, setup};
use crate::workspace::{Workspace, run};

pub(crate) fn docs(workspace: &Workspace) -> Result<(), Error> {
    setup(For::Lint)?;
    let mut command = workspace.cargo(["test", "--package", "sonde-agent", "--lib", "--quiet", "--", "series_page"]);
    run("writing docs/series.md", command.env("SONDE_WRITE_DOCS", "1"))?;
    let mut command = workspace.cargo(["test", "--package", "sonde-proxy", "--lib", "--quiet", "--", "openapi"]);
    run("writing docs/openapi.json", command.env("SONDE_WRITE_DOCS", "1"))
}
