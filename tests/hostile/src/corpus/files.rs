//! The files of `corpus/`, as the build script found them: each a constant, and each used by a row or the build fails.
#![deny(dead_code)]

use crate::guest::File;

include!(concat!(env!("OUT_DIR"), "/files.rs"));
