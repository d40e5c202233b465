//! sonde-sensor
