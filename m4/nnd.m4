dnl SPDX-License-Identifier: Apache-2.0
dnl
dnl nnd.m4 - the checks of configure.ac that occur more than once, and the
dnl table that closes its output.  A part that is missing is an error that
dnl names the Debian package to install; nothing is left out silently.

dnl NND_ROW(NAME, FOUND): one line of the closing table.
AC_DEFUN([NND_ROW],
  [nnd_table="$nnd_table
  `printf '%-14s' '$1'` $2"])

dnl NND_NEED_PKG(VARIABLE, MODULE, MINIMUM, PACKAGE): a library by pkg-config.
AC_DEFUN([NND_NEED_PKG],
  [PKG_CHECK_MODULES([$1], [$2 >= $3], [],
     [AC_MSG_ERROR([$2 >= $3 is missing; on Debian: apt-get install $4])])
   NND_ROW([$2], [`$PKG_CONFIG --modversion $2`])])

dnl NND_NEED_PROG(VARIABLE, PROGRAM, PACKAGE): a program on the PATH.
AC_DEFUN([NND_NEED_PROG],
  [AC_PATH_PROG([$1], [$2])
   AS_IF([test -z "$$1"],
     [AC_MSG_ERROR([$2 is missing; on Debian: apt-get install $3])])
   NND_ROW([$2], [$$1])])

dnl NND_NEED_BLIS(PACKAGE): BLIS has no .pc file, and which libblis the bare
dnl <cblas.h> belongs to depends on the machine's alternatives, so the serial build is
dnl named by its folder: threads are the host's, and the others allocate in each call
dnl of one thread, too.  Sets BLIS_CFLAGS and BLIS_LIBS, unless given.
AC_DEFUN([NND_NEED_BLIS],
  [AC_ARG_VAR([BLIS_CFLAGS], [C flags for <blis.h>])
   AC_ARG_VAR([BLIS_LIBS], [linker flags for libblis])
   nnd_blis=`$CC -print-multiarch 2>/dev/null`/blis-serial
   test -n "$BLIS_CFLAGS" || BLIS_CFLAGS="-isystem /usr/include/$nnd_blis"
   test -n "$BLIS_LIBS" ||
     BLIS_LIBS="-L/usr/lib/$nnd_blis -lblis -Wl,-rpath,/usr/lib/$nnd_blis"
   nnd_cflags=$CFLAGS nnd_libs=$LIBS
   CFLAGS="$CFLAGS $BLIS_CFLAGS" LIBS="$BLIS_LIBS $LIBS"
   AC_MSG_CHECKING([for BLIS])
   AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <blis.h>]], [[bli_init();]])],
     [AC_MSG_RESULT([yes])],
     [AC_MSG_RESULT([no])
      AC_MSG_ERROR([BLIS is missing; on Debian: apt-get install $1])])
   CFLAGS=$nnd_cflags LIBS=$nnd_libs
   NND_ROW([blis], [$BLIS_LIBS])])

dnl NND_CUDA: nvcc builds the cuda plugin where it is; --with-cuda=DIR says where,
dnl --with-cuda wants it.  The sm_80 kernels run on all later GPUs, those of sm_90a
dnl on Hopper alone.  A C++ compiler builds the same sources for the tests.
AC_DEFUN([NND_CUDA],
  [AC_ARG_WITH([cuda],
     [AS_HELP_STRING([--with-cuda=DIR],
        [build the cuda plugin with DIR/bin/nvcc (found by itself; no: leave out)])],
     [], [with_cuda=auto])
   AC_ARG_VAR([NVCC_GENCODE], [code that nvcc makes])
   test -n "$NVCC_GENCODE" || NVCC_GENCODE="dnl
-gencode=arch=compute_80,code=[[sm_80,compute_80]] dnl
-gencode=arch=compute_90a,code=sm_90a"
   AS_CASE([$with_cuda],
     [no], [NVCC=],
     [yes | auto], [AC_PATH_PROG([NVCC], [nvcc], [], [$PATH:/usr/local/cuda/bin])],
     [AC_PATH_PROG([NVCC], [nvcc], [], [$with_cuda/bin])])
   AS_IF([test -z "$NVCC" && test "$with_cuda" != no && test "$with_cuda" != auto],
     [AC_MSG_ERROR([nvcc is missing, which --with-cuda wants; it comes with CUDA 13])])
   AS_IF([test -n "$NVCC"],
     [CUDA_DIR=`AS_DIRNAME(["$NVCC"])`
      CUDA_DIR=`AS_DIRNAME(["$CUDA_DIR"])`
      NVCC_VERSION=`$NVCC --version | sed -n 's/.*release \(@<:@0-9.@:>@*\).*/\1/p'`
      NND_ROW([cuda], [$NVCC, $NVCC_VERSION])],
     [AS_IF([test "$with_cuda" = no],
        [NND_ROW([cuda], [no (--without-cuda)])],
        [NND_ROW([cuda], [no (nvcc not found)])])])
   AC_SUBST([CUDA_DIR])
   AC_SUBST([NVCC_VERSION])
   AM_CONDITIONAL([WITH_CUDA], [test -n "$NVCC"])
   AM_CONDITIONAL([HAVE_CXX], [type "$CXX" >/dev/null 2>&1])])

dnl NND_SANITIZER: --enable-sanitizer=LIST sets SANITIZER_FLAGS.
AC_DEFUN([NND_SANITIZER],
  [AC_ARG_ENABLE([sanitizer],
     [AS_HELP_STRING([--enable-sanitizer=LIST],
        [build with -fsanitize=LIST: address,undefined or thread])],
     [], [enable_sanitizer=no])
   SANITIZER_FLAGS=
   AS_IF([test "$enable_sanitizer" = yes],
     [AC_MSG_ERROR([--enable-sanitizer wants a list: address,undefined or thread])])
   AS_IF([test "$enable_sanitizer" != no],
     [SANITIZER_FLAGS="-fsanitize=$enable_sanitizer -fno-sanitize-recover=all"
      SANITIZER_FLAGS="$SANITIZER_FLAGS -fno-omit-frame-pointer"
      nnd_cflags=$CFLAGS
      CFLAGS="$CFLAGS $SANITIZER_FLAGS"
      AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])], [],
        [AC_MSG_ERROR([$CC cannot link with $SANITIZER_FLAGS])])
      CFLAGS=$nnd_cflags])
   AC_SUBST([SANITIZER_FLAGS])
   NND_ROW([sanitizer], [$enable_sanitizer])])
