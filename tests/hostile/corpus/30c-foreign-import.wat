;; Imports sockets of WASI.
(component
  (import "wasi:sockets/tcp@0.2.0" (instance))
  (core module $m (func (export "f")))
  (core instance $i (instantiate $m))
  (func $f (canon lift (core func $i "f")))
  (export "describe" (func $f))
  (export "collect" (func $f)))
