# Whether trees from git keep their history: full or none.
export DIB_SOURCE_GIT="${DIB_SOURCE_GIT:-full}"
case "$DIB_SOURCE_GIT" in
    full | none) ;;
    *)
        echo "DIB_SOURCE_GIT is $DIB_SOURCE_GIT: it is full or none" >&2
        return 1
        ;;
esac
