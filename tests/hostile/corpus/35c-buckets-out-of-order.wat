;; Returns histograms whose bounds fall, whose counts fall, whose bounds are not numbers, whose count is not the
;; last bucket's.
(module
  (memory (export "memory") 2)
  ;; Texts, then records: families are name, kind, help, unit, label names; numbers are family, label values, value, start.
  (data (i32.const 1024) "h0h1h2h3h4")
  (data (i32.const 8192)
    (i32 1024 2 2 0 0 0 0 0 0)
    (i32 1026 2 2 0 0 0 0 0 0)
    (i32 1028 2 2 0 0 0 0 0 0)
    (i32 1030 2 2 0 0 0 0 0 0)
    (i32 1032 2 2 0 0 0 0 0 0))
  (data (i32.const 8376) (f64 2.0 1.0) (f64 1.0 2.0))
  (data (i32.const 8408) (f64 1.0 2.0) (f64 2.0 1.0))
  (data (i32.const 8440) (f64 nan:0x8000000000001 1.0) (f64 inf 1.0))
  (data (i32.const 8472) (f64 1.0 1.0) (f64 inf 5.0))
  (data (i32.const 8504) (f64 1.0 1.0) (f64 inf 5.0))
  (data (i32.const 8536)
    (i32 0 0 0 8376 2 0) (i32 1 0) (f64 1.0 2.0) (i64 0 0)
    (i32 1 0 0 8408 2 0) (i32 1 0) (f64 1.0 2.0) (i64 0 0)
    (i32 2 0 0 8440 2 0) (i32 1 0) (f64 1.0 1.0) (i64 0 0)
    (i32 3 0 0 8472 2 0) (i32 1 0) (f64 1.0 4.0) (i64 0 0)
    (i32 4 0 0 8504 2 0) (i32 1 0) (f64 1.0 5.0) (i64 0 0))
  (data (i32.const 68) (i32 8192 5 0 0 8536 5))
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
