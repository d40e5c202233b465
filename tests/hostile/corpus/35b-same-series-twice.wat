;; Returns a series three times, once with its empty label left to itself.
(module
  (memory (export "memory") 2)
  ;; Texts, then records: families are name, kind, help, unit, label names; numbers are family, label values, value, start.
  (data (i32.const 1024) "flvvv")
  (data (i32.const 8192) (i32 1025 1))
  (data (i32.const 8200)
    (i32 1024 1 1 0 0 0 0 8192 1))
  (data (i32.const 8240) (i32 1026 1))
  (data (i32.const 8248) (i32 1027 1))
  (data (i32.const 8256) (i32 1028 1))
  (data (i32.const 8264) (i32 0 0))
  (data (i32.const 8272) (i32 0 0))
  (data (i32.const 8280)
    (i32 0 8240 1 0) (f64 1.0) (i32 0 0) (f64 0.0)
    (i32 0 8248 1 0) (f64 2.0) (i32 0 0) (f64 0.0)
    (i32 0 8256 1 0) (f64 3.0) (i32 0 0) (f64 0.0)
    (i32 0 8264 1 0) (f64 4.0) (i32 0 0) (f64 0.0)
    (i32 0 8272 1 0) (f64 5.0) (i32 0 0) (f64 0.0))
  (data (i32.const 68) (i32 8200 1 8280 5 0 0))
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
