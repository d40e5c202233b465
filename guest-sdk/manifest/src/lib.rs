//! sonde-manifest
