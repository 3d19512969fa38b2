# Runs as root, before packages are looked up, in the image of nodes with GPUs. NVIDIA calls servers with Arm processors sbsa.
machine=$(uname -m)
[ "$machine" != aarch64 ] || machine=sbsa
dnf -q -y config-manager --add-repo "https://developer.download.nvidia.com/compute/cuda/repos/rhel9/$machine/cuda-rhel9.repo"
