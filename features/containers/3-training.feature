@local @nightly
Feature: Users train networks in images
  NVIDIA's images are downloads of tens of gigabytes, so images with Debian's PyTorch and PyPI's TensorFlow stand for them, and scikit-learn's
  digits for the handwriting.

  Background:
    Given the cluster that the notebooks 010 to 121 have built

  Scenario: 141 and 151: PyTorch by Apptainer and in a container
    Given the image archive "pytorch" lies on the cluster as "/home/pytorch.tar"
    When tmplrun runs notebook 141 with
      | pytorch_image | docker-archive:/home/pytorch.tar |
      | training_data | digits                           |
    Then it succeeds
    And taro's newest output with "device=CPU" tells an accuracy of at least 0.95
    And taro's newest output with "framework=PyTorch" tells an accuracy of at least 0.95
    When tmplrun runs notebook 151 with
      | pytorch_image | docker-archive:/home/pytorch.tar |
      | training_data | digits                           |
    Then it succeeds
    And taro's newest output with "framework=PyTorch" tells an accuracy of at least 0.95

  Scenario: 142 and 152: TensorFlow by Apptainer and in a container
    Given the image archive "tensorflow" lies on the cluster as "/home/tensorflow.tar"
    When tmplrun runs notebook 142 with
      | tensorflow_image | docker-archive:/home/tensorflow.tar |
      | training_data    | digits                              |
    Then it succeeds
    And taro's newest output with "framework=TensorFlow" tells an accuracy of at least 0.95
    When tmplrun runs notebook 152 with
      | tensorflow_image | docker-archive:/home/tensorflow.tar |
      | training_data    | digits                              |
    Then it succeeds
    And taro's newest output with "framework=TensorFlow" tells an accuracy of at least 0.95

  Scenario: 141 fails when the training learns too little
    Given the image archive "pytorch" lies on the cluster as "/home/pytorch.tar"
    When tmplrun runs notebook 141 with
      | pytorch_image  | docker-archive:/home/pytorch.tar |
      | training_data  | digits                           |
      | epochs         | 1                                |
      | least_accuracy | 0.999                            |
    Then it ends with exit code 1
    And it says "is less than 0.999"

  Scenario: 160 measures what containers cost, in three ways
    Given the image archive "pytorch" lies on the cluster as "/home/pytorch.tar"
    When tmplrun runs notebook 160 with
      | pytorch_image | docker-archive:/home/pytorch.tar |
      | training_data | digits                           |
      | repeats       | 3                                |
    Then it succeeds
    And taro's newest output with "way=apptainer" tells an accuracy of at least 0.9
