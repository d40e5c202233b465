;; Fills the whole memory that the largest class has, again and again.
(module
  (memory (export "memory") 4000)
  (global $heap (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $heap
    (global.set $heap
      (i32.and (i32.add (i32.add (global.get $heap) (local.get 3)) (i32.const 15)) (i32.const -16))))
  ;; dynamic
  (data (i32.const 16) "\01")
  (func (export "describe") (result i32) (i32.const 16))
  (func (export "collect") (result i32)
    (loop $again (memory.fill (i32.const 4096) (i32.const 7) (i32.const 262_000_000)) (br $again))
    unreachable)
)
