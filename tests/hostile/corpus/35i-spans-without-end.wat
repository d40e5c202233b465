;; Returns a native histogram whose spans name 2^32-1 buckets each.
(module
  (memory (export "memory") 2)
  (data (i32.const 512) "n")
  (data (i32.const 68) (i32 768 1))
  (data (i32.const 768) (i32 512 1 4))
  (data (i32.const 92) (i32 1024 1))
  ;; family, labels, schema, zero threshold, zero count, count, sum, positive spans and counts, negative spans and counts, start
  (data (i32.const 1024) (i32 0 0 0 0) (f64 0 0 1 1) (i32 2048 4 0 0 2048 4 0 0) (i64 0 0))
  (data (i32.const 2048) (i32 0x7fffffff -1 0x7fffffff -1 0x7fffffff -1 0x7fffffff -1))
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
