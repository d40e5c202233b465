;; Returns gauges that are NaN with a payload (one of them Prometheus's own mark of a stale series), and a
;; counter that began in the far future.
(module
  (memory (export "memory") 2)
  ;; Texts, then records: families are name, kind, help, unit, label names; numbers are family, label values, value, start.
  (data (i32.const 1024) "abc_total")
  (data (i32.const 8192)
    (i32 1024 1 1 0 0 0 0 0 0)
    (i32 1025 1 1 0 0 0 0 0 0)
    (i32 1026 7 0 0 0 0 0 0 0))
  (data (i32.const 8304)
    (i32 0 0 0 0) (f64 nan:0x0000000000002) (i32 0 0) (f64 0.0)
    (i32 1 0 0 0) (f64 -nan:0xfffffffffffff) (i32 0 0) (f64 0.0)
    (i32 2 0 0 0) (f64 1.0) (i32 1 0) (f64 1e+300))
  (data (i32.const 68) (i32 8192 3 8304 3 0 0))
  (global $heap (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $heap
    (global.set $heap
      (i32.and (i32.add (i32.add (global.get $heap) (local.get 3)) (i32.const 15)) (i32.const -16))))
  ;; dynamic
  (data (i32.const 16) "\01")
  (func (export "describe") (result i32) (i32.const 16))
  (func (export "collect") (result i32)
    (i32.const 64))
)
