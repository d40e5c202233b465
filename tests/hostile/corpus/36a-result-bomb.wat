;; Returns 6,000 series in one call.
(module
  (memory (export "memory") 40)
  ;; One family "f" with one label "l".
  (data (i32.const 512) "fl")
  (data (i32.const 68) (i32 768 1))
  (data (i32.const 768) (i32 512 1 1 0 0 0 0 808 1) (i32 0) (i32 513 1))
  ;; Eight letters that say a number.
  (func $letters (param $at i32) (param $number i32)
    (local $digit i32)
    (loop $next
      (i32.store8 (i32.add (local.get $at) (local.get $digit))
        (i32.add (i32.const 97) (i32.and (local.get $number) (i32.const 15))))
      (local.set $number (i32.shr_u (local.get $number) (i32.const 4)))
      (br_if $next (i32.lt_u (local.tee $digit (i32.add (local.get $digit) (i32.const 1))) (i32.const 8)))))
  (global $heap (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $heap
    (global.set $heap
      (i32.and (i32.add (i32.add (global.get $heap) (local.get 3)) (i32.const 15)) (i32.const -16))))
  ;; dynamic
  (data (i32.const 16) "\01")
  (func (export "describe") (result i32) (i32.const 16))
  (func (export "collect") (result i32) (local $i i32) (local $at i32) (local $label i32) (local $text i32)
    (loop $again
      (local.set $at (i32.add (i32.const 65536) (i32.mul (local.get $i) (i32.const 40))))
      (local.set $label (i32.add (i32.const 305536) (i32.mul (local.get $i) (i32.const 8))))
      (local.set $text (i32.add (i32.const 353536) (i32.mul (local.get $i) (i32.const 8))))
      (i32.store offset=4 (local.get $at) (local.get $label))
      (i32.store offset=8 (local.get $at) (i32.const 1))
      (i32.store (local.get $label) (local.get $text))
      (i32.store offset=4 (local.get $label) (i32.const 8))
      (call $letters (local.get $text) (local.get $i))
      (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 6000))))
    (i32.store (i32.const 76) (i32.const 65536))
    (i32.store (i32.const 80) (i32.const 6000))
    (i32.const 64))
)
