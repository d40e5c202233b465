;; Imports a function of the clock that the world does not have.
(component
  (import "sonde:sensor/clock@0.1.0" (instance (export "set" (func (param "to" u64)))))
  (core module $m (func (export "f")))
  (core instance $i (instantiate $m))
  (func $f (canon lift (core func $i "f")))
  (export "describe" (func $f))
  (export "collect" (func $f)))
