//! A module of the world's shape, decided by the bytes, through loading and one run: the node is never at fault.
#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use sonde_host::{Grant, Policy, Reserved, RunFailure};
use sonde_runner::{LocalError, LocalLoader, NoInstance, RunInput};
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("threads can be started"));
static LOADER: LazyLock<LocalLoader> = LazyLock::new(|| LocalLoader::new(Reserved::default()));

fuzz_target!(|bytes: &[u8]| {
    let Some(file) = sonde_hostile::random::module_of(bytes) else { return };
    RUNTIME.block_on(async {
        let sensor = match LOADER.load(&file).await {
            Ok(sensor) => sensor,
            Err(fault @ (LocalError::Engine(_) | LocalError::Memory(_))) => panic!("{fault}"),
            Err(_) => return,
        };
        let manifest = &sensor.sensor.manifest;
        let asked = manifest.resolve(&BTreeMap::new()).expect("every key has a default");
        let grant = Grant::decide(manifest, asked, &Policy::default()).expect("the policy allows it");
        let input = RunInput { grant: Arc::new(grant), broker: Arc::new(NoInstance), state: Arc::from([]), account: 0 };
        let result = sensor.run(input).await.result;
        if let Err(fault @ (RunFailure::Internal { .. } | RunFailure::Start { .. })) = result {
            panic!("{fault}");
        }
    });
});
