//! sonde-agent
