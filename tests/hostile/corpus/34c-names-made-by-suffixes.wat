;; Claims histograms and summaries whose lines would be another family's: its own and the node's.
(module
  (memory (export "memory") 2)
  ;; Texts, then records: families are name, kind, help, unit, label names; numbers are family, label values, value, start.
  (data (i32.const 1024) "okhh_bucketh_count")
  (data (i32.const 8192)
    (i32 1024 2 1 0 0 0 0 0 0)
    (i32 1026 1 2 0 0 0 0 0 0)
    (i32 1027 8 1 0 0 0 0 0 0)
    (i32 1035 7 0 0 0 0 0 0 0))
  (data (i32.const 8336)
    (i32 0 0 0 0) (f64 1.0) (i32 0 0) (f64 0.0)
    (i32 2 0 0 0) (f64 1.0) (i32 0 0) (f64 0.0)
    (i32 3 0 0 0) (f64 1.0) (i32 0 0) (f64 0.0))
  (data (i32.const 68) (i32 8192 4 8336 3 0 0))
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
